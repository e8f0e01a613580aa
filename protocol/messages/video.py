"""JT/T 1078-2016 on the 808 link: asking for video and sound, their recordings, and turning cameras.

The stream itself is no message: `protocol.media` has its packets.
"""

from typing import Any, Final

from construct import Default, GreedyRange, Int8ub, Int16ub, Int32ub, Int64ub, Struct, len_, this

from protocol.adapters import BcdTime, counted
from protocol.message import DOWN, EMPTY, UP, message

CHANNEL: Final = "channel" / Int8ub * "逻辑通道号 channel of JT/T 1076-2016 table 2"
PERIOD: Final = (
    "start_time" / BcdTime * "开始时间 from; zeros: any time",
    "end_time" / BcdTime * "结束时间 until; zeros: any time",
)
ALARM_FLAG: Final = (
    "alarm_flag"
    / Int64ub
    * "报警标志 bits 0 to 31 of the alarm word, 32 to 63 video alarms of item 0x14; 0 any or none"
)
MEDIA_TYPE: Final = "media_type" / Int8ub * "音视频资源类型 0 both, 1 sound, 2 video, 3 video or sound"
STREAM_TYPE: Final = "stream_type" / Int8ub * "码流类型 0 any, 1 main, 2 sub stream"
STORAGE_TYPE: Final = "storage_type" / Int8ub * "存储器类型 0 any, 1 main, 2 backup"
PLAY_SPEED: Final = "play_speed" / Int8ub * "快进或快退倍数 0 none, 1 to 5: 1, 2, 4, 8, 16 times"
LIVE_STREAM_TYPE: Final = "stream_type" / Int8ub * "码流类型 0 main, 1 sub stream"


def server(name: str, chinese: str) -> tuple[Any, ...]:
    """Where a stream goes: an address and two ports."""
    return (
        *counted("server_ip", Int8ub, "服务器IP地址", f"{name} server"),
        "tcp_port" / Int16ub * f"{chinese}TCP端口号 its TCP port, 0 none",
        "udp_port" / Int16ub * f"{chinese}UDP端口号 its UDP port, 0 none",
    )


message(
    0x9003,
    "查询终端音视频属性",
    "ask what the terminal can record",
    EMPTY,
    direction=DOWN,
    answer=0x1003,
    clause="1078-2016 §5.3.2",
)
message(
    0x1003,
    "终端上传音视频属性",
    "what the terminal can record",
    Struct(
        "audio_encoding" / Int8ub * "输入音频编码方式 table 12, e.g. 6 G.711A, 8 G.726, 19 AAC, 26 ADPCM",
        "audio_channels" / Int8ub * "输入音频声道数 channels of sound",
        "audio_sample_rate" / Int8ub * "输入音频采样率 0 8, 1 22.05, 2 44.1, 3 48 kHz",
        "audio_sample_bits" / Int8ub * "输入音频采样位数 0 8, 1 16, 2 32 bits",
        "audio_frame_length" / Int16ub * "音频帧长度 length of a frame of sound",
        "audio_output_supported" / Int8ub * "是否支持音频输出 1 it has a loudspeaker",
        "video_encoding" / Int8ub * "视频编码方式 table 12: 98 H.264, 99 H.265, 100 AVS, 101 SVAC",
        "max_audio_channels" / Int8ub * "终端支持的最大音频物理通道数量 plugs for sound",
        "max_video_channels" / Int8ub * "终端支持的最大视频物理通道数量 plugs for cameras",
    ),
    direction=UP,
    clause="1078-2016 §5.3.3 table 11",
)
message(
    0x1005,
    "终端上传乘客流量",
    "passengers counted",
    Struct(
        "start_time" / BcdTime * "起始时间 from",
        "end_time" / BcdTime * "结束时间 until",
        "boarding_count" / Int16ub * "上车人数 got on",
        "alighting_count" / Int16ub * "下车人数 got off",
    ),
    direction=UP,
    clause="1078-2016 §5.4.2 table 16",
)

# Live

message(
    0x9101,
    "实时音视频传输请求",
    "send live video",
    Struct(
        *server("video", "实时视频服务器"),
        CHANNEL,
        "data_type" / Int8ub * "数据类型 0 both, 1 video, 2 talk both ways, 3 listen in, 4 to all, 5 data",
        LIVE_STREAM_TYPE,
    ),
    direction=DOWN,
    clause="1078-2016 §5.5.1 table 17",
)
message(
    0x9102,
    "音视频实时传输控制",
    "control live video",
    Struct(
        CHANNEL,
        "command" / Int8ub * "控制指令 0 end, 1 switch streams, 2 pause, 3 go on, 4 end of talking",
        "close_type" / Int8ub * "关闭音视频类型 0 end both, 1 sound only, 2 video only",
        LIVE_STREAM_TYPE,
    ),
    direction=DOWN,
    clause="1078-2016 §5.5.2 table 18",
)
message(
    0x9105,
    "实时音视频传输状态通知",
    "how live video arrives",
    Struct(CHANNEL, "packet_loss_rate" / Int8ub * "丢包率 packets lost, percent"),
    direction=DOWN,
    answer=None,
    clause="1078-2016 §5.5.4 table 20",
)

# Recordings

message(
    0x9205,
    "查询资源列表",
    "search recordings",
    Struct(CHANNEL, *PERIOD, ALARM_FLAG, MEDIA_TYPE, STREAM_TYPE, STORAGE_TYPE),
    direction=DOWN,
    answer=0x1205,
    clause="1078-2016 §5.6.1 table 21",
)
message(
    0x1205,
    "终端上传音视频资源列表",
    "recordings",
    Struct(
        "ack_serial" / Int16ub * "流水号 serial of the search",
        "total" / Default(Int32ub, len_(this.items)) * "音视频资源总数 recordings",
        # By the length of the body: devices count what several messages carry together.
        "items"
        / GreedyRange(
            Struct(
                CHANNEL,
                "start_time" / BcdTime * "开始时间 from",
                "end_time" / BcdTime * "结束时间 until",
                ALARM_FLAG,
                "resource_type" / Int8ub * "音视频资源类型 0 both, 1 sound, 2 video",
                STREAM_TYPE,
                STORAGE_TYPE,
                "file_size" / Int32ub * "文件大小 bytes",
            )
        )
        * "音视频资源列表 recordings",
    ),
    direction=UP,
    clause="1078-2016 §5.6.2 tables 22 and 23",
)
message(
    0x9201,
    "平台下发远程录像回放请求",
    "play a recording",
    Struct(
        *server("video", "实时音视频服务器"),
        CHANNEL,
        MEDIA_TYPE,
        STREAM_TYPE,
        STORAGE_TYPE,
        "playback_mode"
        / Int8ub
        * "回放方式 0 normal, 1 fast, 2 fast backwards by key frames, 3 key frames, 4 one frame",
        PLAY_SPEED,
        "start_time" / BcdTime * "开始时间 from, or of the one frame",
        "end_time" / BcdTime * "结束时间 until; zeros: to the end",
    ),
    direction=DOWN,
    answer=0x1205,
    clause="1078-2016 §5.6.3 table 24",
)
message(
    0x9202,
    "平台下发远程录像回放控制",
    "control the playing",
    Struct(
        CHANNEL,
        "playback_control"
        / Int8ub
        * "回放控制 0 start, 1 pause, 2 end, 3 fast, 4 fast backwards, 5 go to a time, 6 key frames",
        PLAY_SPEED,
        "seek_time" / BcdTime * "拖动回放位置 the time to go to",
    ),
    direction=DOWN,
    clause="1078-2016 §5.6.4 table 25",
)
message(
    0x9206,
    "文件上传指令",
    "upload a recording by FTP",
    Struct(
        *counted("server_ip", Int8ub, "服务器地址", "FTP server"),
        "port" / Int16ub * "端口 its port",
        *counted("username", Int8ub, "用户名", "FTP user"),
        *counted("password", Int8ub, "密码", "FTP password"),
        *counted("path", Int8ub, "文件上传路径", "folder on the server"),
        CHANNEL,
        *PERIOD,
        ALARM_FLAG,
        MEDIA_TYPE,
        STREAM_TYPE,
        STORAGE_TYPE,
        "execute_condition" / Int8ub * "任务执行条件 bits 0 on Wi-Fi, 1 on LAN, 2 on 3G and 4G",
    ),
    direction=DOWN,
    clause="1078-2016 §5.6.5 table 26",
)
message(
    0x1206,
    "文件上传完成通知",
    "upload done",
    Struct(
        "ack_serial" / Int16ub * "应答流水号 serial of the command to upload",
        "result" / Int8ub * "结果 0 done, 1 failed",
    ),
    direction=UP,
    clause="1078-2016 §5.6.6 table 27",
)
message(
    0x9207,
    "文件上传控制",
    "control the upload",
    Struct(
        "ack_serial" / Int16ub * "应答流水号 serial of the command to upload",
        "command" / Int8ub * "上传控制 0 pause, 1 go on, 2 cancel",
    ),
    direction=DOWN,
    clause="1078-2016 §5.6.7 table 28",
)

# Cameras

message(
    0x9301,
    "云台旋转",
    "turn the camera",
    Struct(
        CHANNEL,
        "direction" / Int8ub * "方向 0 stop, 1 up, 2 down, 3 left, 4 right",
        "speed" / Int8ub * "速度 0 to 255",
    ),
    direction=DOWN,
    clause="1078-2016 §5.7.1 table 29",
)
for _id, _chinese, _name, _field, _clause in (
    (0x9302, "云台调整焦距控制", "focus", "focus_direction", "§5.7.2 table 30"),
    (0x9303, "云台调整光圈控制", "iris", "iris", "§5.7.3 table 31"),
    (0x9306, "云台变倍控制", "zoom", "zoom", "§5.7.6 table 34"),
):
    message(
        _id,
        _chinese,
        f"camera: {_name}",
        Struct(CHANNEL, _field / Int8ub * f"{_chinese} 0 larger, 1 smaller"),
        direction=DOWN,
        clause=f"1078-2016 {_clause}",
    )
for _id, _chinese, _name, _clause in (
    (0x9304, "云台雨刷控制", "wiper", "§5.7.4 table 32"),
    (0x9305, "红外补光控制", "infrared light", "§5.7.5 table 33"),
):
    message(
        _id,
        _chinese,
        f"camera: {_name}",
        Struct(CHANNEL, "start_or_stop" / Int8ub * "启停标识 0 stop, 1 start"),
        direction=DOWN,
        clause=f"1078-2016 {_clause}",
    )
