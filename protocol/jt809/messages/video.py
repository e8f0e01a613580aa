"""视频平台间通信: access codes, live and recorded video between platforms. JT/T 1078-2016 §9 and §10."""

from typing import Final

from construct import Array, Construct, Int8ub, Int16ub, Int32ub, Int64ub, Rebuild, Struct, len_, this

from protocol.adapters import END, Text, Trailing
from protocol.jt809.adapters import Code, PlatformId, UtcSeconds
from protocol.jt809.dialect import Dialect
from protocol.jt809.fields import PERIOD, result
from protocol.jt809.message import Envelope, group, message

for _id, _chinese, _name in (
    (0x00, "时效口令业务类", "access codes"),
    (0x100, "实时音视频交互", "live video"),
    (0x200, "远程录像检索交互", "search of recordings"),
    (0x300, "远程录像回放交互", "playback of recordings"),
    (0x400, "远程录像下载交互", "download of recordings"),
):
    group(0x1700 + _id, f"主链路{_chinese}", f"{_name}, of the subordinate")
    group(0x9700 + _id, f"从链路{_chinese}", f"{_name}, of the superior")

RESULTS: Final = "0 done, 1 failed, 2 not supported, 3 session over"
OPEN_RESULTS: Final = f"{RESULTS}, 4 wrong access code, 5 not in the other region"

CHANNEL: Final = "channel_id" / Int8ub * "逻辑通道号 channel of JT/T 1076-2016 table 2, 0 all"
SEARCHED: Final = (
    "av_item_type" / Int8ub * "音视频类型 0 both, 1 audio, 2 video, 3 either",
    "stream_type" / Int8ub * "码流类型 0 all, 1 main, 2 sub stream",
    "mem_type" / Int8ub * "存储器类型 0 all, 1 main, 2 backup storage",
)
ALARM: Final = (
    "alarm_type" / Int64ub * "报警类型 bits 0 to 31 alarm word of JT/T 808, from 32 on video alarms; 0 any"
)
FILE_SIZE: Final = "file_size" / Int32ub * "文件大小 bytes"
CODE: Final = "authorize_code" / Code(64) * "时效口令 access code"
GNSS: Final = (
    "gnss_data"
    / Trailing(Array(36, Int8ub))
    * "车辆进入跨域地区后5min之内的任一位置 bytes of a 2011 position, only for access from another region"
)
SESSION: Final = "session_id" / Int16ub * "对应平台文件上传消息的流水号 number of the upload"
SERVER: Final = "server_ip" / Text(32) * "企业视频服务器IP地址 video server"
SERVER_PORT: Final = "server_port" / Int16ub * "企业视频服务器端口号 port there"

message(
    0x1701,
    "时效口令上报",
    "access codes of today",
    Struct(
        "platform_id" / PlatformId * "企业视频监控平台唯一编码 platform",
        "authorize_code1" / Code(64) * "归属地区政府平台使用的时效口令 code for the home region",
        "authorize_code2" / Code(64) * "跨域地区政府平台使用的时效口令 code for other regions",
        END,
    ),
    envelopes={Dialect.V1: Envelope.PLAIN_NO_LENGTH},
    clause="1078 table 39",
)
message(0x1702, "时效口令请求", "ask for the access codes", answer=0x9702, clause="1078 table 40")
message(0x9702, "时效口令请求应答", "access codes reply", clause="1078 table 41")

AV_ITEM: Final = "avitem_type" / Int8ub * "音视频类型 0 both, 1 audio, 2 video"
message(
    0x9801,
    "实时音视频请求",
    "ask for live video",
    Struct(CHANNEL, AV_ITEM, CODE, GNSS),
    answer=0x1801,
    clause="1078 table 42",
)
message(
    0x1801,
    "实时音视频请求应答",
    "where live video is",
    Struct(result(OPEN_RESULTS), SERVER, SERVER_PORT),
    clause="1078 table 43",
)
message(
    0x9802,
    "主动请求停止实时音视频传输",
    "stop live video",
    Struct(CHANNEL, AV_ITEM),
    answer=0x1802,
    clause="1078 table 44",
)
message(
    0x1802,
    "主动请求停止实时音视频传输应答",
    "live video stopped",
    Struct(result(RESULTS)),
    clause="1078 table 45",
)


def recordings(*before: Construct) -> Construct:
    """Declare a list of recordings."""
    one = Struct(CHANNEL, *PERIOD, ALARM, *SEARCHED, FILE_SIZE)
    return Struct(
        *before,
        "item_num" / Rebuild(Int32ub, len_(this.item_list)) * "资源目录项总数 recordings",
        "item_list" / Array(this.item_num, one) * "资源目录项列表 recordings",
        END,
    )


message(
    0x1901,
    "主动上传音视频资源目录信息",
    "recordings of special alarms",
    recordings(),
    answer=0x9901,
    clause="1078 table 46",
)
message(
    0x9901,
    "主动上传音视频资源目录信息应答",
    "recordings received",
    Struct(result(RESULTS), "item_number" / Int8ub * "资源目录总数 recordings received"),
    clause="1078 table 48",
)
message(
    0x9902,
    "查询音视频资源目录请求",
    "search recordings",
    Struct(CHANNEL, *PERIOD, ALARM, *SEARCHED, CODE, GNSS),
    answer=0x1902,
    clause="1078 table 49",
)
message(
    0x1902,
    "查询音视频资源目录应答",
    "recordings found",
    recordings(result(OPEN_RESULTS)),
    clause="1078 table 50",
)

message(
    0x9A01,
    "远程录像回放请求",
    "play a recording back",
    Struct(
        CHANNEL,
        *SEARCHED,
        "play_back_start_time" / UtcSeconds * "回放起始时间 from, UTC",
        "play_back_end_time" / UtcSeconds * "回放结束时间 until, UTC",
        CODE,
        GNSS,
    ),
    answer=0x1A01,
    clause="1078 table 51",
)
message(
    0x1A01,
    "远程录像回放请求应答",
    "where the playback is",
    Struct(SERVER, SERVER_PORT, result(OPEN_RESULTS)),
    clause="1078 table 52",
)
message(
    0x9A02,
    "远程录像回放控制",
    "control a playback",
    Struct(
        "control_type"
        / Int8ub
        * "回放控制 0 play, 1 pause, 2 stop, 3 forward, 4 back by key frames, 5 jump, 6 key frames only",
        "fast_time" / Int8ub * "快进或快退倍数 0 none, 1 to 5 for 1, 2, 4, 8, 16 times; only for 3 and 4",
        "date_time" / UtcSeconds * "拖动位置 where to jump to, UTC; only for 5",
    ),
    answer=0x1A02,
    clause="1078 table 53",
)
message(0x1A02, "远程录像回放控制应答", "playback reply", Struct(result(RESULTS)), clause="1078 table 54")

message(
    0x9B01,
    "远程录像下载请求",
    "download a recording",
    Struct(CHANNEL, *PERIOD, ALARM, *SEARCHED, FILE_SIZE, CODE, GNSS),
    answer=0x1B01,
    clause="1078 table 55",
)
message(
    0x1B01,
    "远程录像下载请求应答",
    "download accepted",
    Struct(result(OPEN_RESULTS), SESSION),
    clause="1078 table 56",
)
message(
    0x1B02,
    "远程录像下载完成通知",
    "download finished",
    Struct(
        result("0 done, 1 failed"),
        SESSION,
        "server_ip" / Text(32) * "FTP服务器IP地址 FTP server",
        "tcp_port" / Int16ub * "FTP端口 port there",
        "user_name" / Text(49) * "FTP用户名 user",
        "password" / Text(22) * "FTP密码 password",
        "file_path" / Text(200) * "文件存储路径 path of the file",
    ),
    answer=0x9B02,
    clause="1078 table 57",
)
message(
    0x9B02,
    "远程录像下载完成通知应答",
    "download finish received",
    Struct(result(RESULTS), SESSION),
    clause="1078 table 58",
)
message(
    0x9B03,
    "远程录像下载控制",
    "control a download",
    Struct(SESSION, "type" / Int8ub * "控制 0 pause, 1 go on, 2 cancel"),
    answer=0x1B03,
    clause="1078 table 59",
)
message(0x1B03, "远程录像下载控制应答", "download reply", Struct(result(RESULTS)), clause="1078 table 60")
