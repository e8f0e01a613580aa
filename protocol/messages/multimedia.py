"""多媒体类消息: pictures, sound and video. 2013 §8.51 to §8.60, 2019 §8.50 to §8.59.

A medium is far longer than a frame. Since 2013 the header's fragments carry it; in 2011 the body itself
counts packets, and a medium has no location.
"""

from typing import Final

from construct import (
    Array,
    Construct,
    Int8ub,
    Int16ub,
    Int32ub,
    Struct,
    this,
)

from protocol.adapters import END, Among, BcdTime, HexBytes, Trailing, When, count_of, numbered
from protocol.edition import Edition
from protocol.message import DOWN, UP, message
from protocol.messages.location import FIX, REPORT

MEDIA_ID = "media_id" / Int32ub * "多媒体数据ID medium, from 1"
MEDIA_TYPE = "media_type" / Int8ub * "多媒体类型 0 picture, 1 sound, 2 video"
EVENT = (
    "event_code"
    / Int8ub
    * "事件项编码 0 command, 1 timer, 2 robbery, 3 collision, 4 door opened, 5 closed, 6 closed and "
    "speeding up,"
    "7 distance"
)
CHANNEL = "channel_id" / Int8ub * "通道ID camera or microphone"
MEDIUM = (
    MEDIA_ID,
    MEDIA_TYPE,
    "media_format" / Int8ub * "多媒体格式编码 0 JPEG, 1 TIF, 2 MP3, 3 WAV, 4 WMV",
    EVENT,
    CHANNEL,
)
DATA = "media_data" / HexBytes() * "多媒体数据包 data"

PACKETS: Final = range(1, 0x10000)
"""What the packets of a medium of 2011 can count to: more than any terminal sends, and less than the data of
other layouts looks like in their place.
"""

message(0x0800, "多媒体事件信息上传", "medium recorded", Struct(*MEDIUM), direction=UP, clause="2013 §8.51")
message(
    0x0801,
    "多媒体数据上传",
    "medium",
    {
        Edition.E2011: Struct(
            *MEDIUM,
            "package_total" / Among(Int32ub, PACKETS) * "数据总包数 packets of this medium",
            "package_index" / Among(Int32ub, PACKETS) * "包ID number of this packet",
            DATA,
        ),
        Edition.E2013: Struct(*MEDIUM, "location" / FIX * "位置信息汇报 where it was taken", DATA),
    },
    variants={"without location": Struct(*MEDIUM, DATA)},
    direction=UP,
    answer=0x8800,
    clause="2011 §8.42, 2013 §8.52, 2019 §8.51",
)

MISSING = (
    "package_count" / Trailing(Int8ub, count_of("package_ids")) * "重传包总数 packets to send again",
    "package_ids"
    / When(lambda this: this.package_count is not None, Array(this.package_count, Int16ub))
    * "重传包ID列表 their numbers; absent when all have arrived",
    END,
)
message(
    0x8800,
    "多媒体数据上传应答",
    "medium received",
    {
        Edition.E2011: Struct("ack_serial" / Int16ub * "应答流水号 serial of the medium", MEDIA_ID, *MISSING),
        Edition.E2013: Struct(MEDIA_ID, *MISSING),
    },
    direction=DOWN,
    answer=None,
    clause="2011 §8.43, 2013 §8.53, 2019 §8.52",
)
message(
    0x8801,
    "摄像头立即拍摄命令",
    "take pictures or video",
    Struct(
        CHANNEL,
        "command" / Int16ub * "拍摄命令 0 stop, 0xFFFF video, others the number of pictures",
        "interval_or_duration_s"
        / Int16ub
        * "拍照间隔/录像时间 between pictures, or of the video; 0 least or endless",
        "save_flag" / Int8ub * "保存标志 0 upload, 1 keep",
        "resolution"
        / Int8ub
        * "分辨率 1 320x240, 2 640x480, 3 800x600, 4 1024x768, 5 176x144, 6 352x288, 7 704x288, 8 704x576; "
        "2019: 0 lowest, 0xFF highest",
        "quality" / Int8ub * "图像/视频质量 1 best to 10 smallest",
        "brightness" / Int8ub * "亮度 0 to 255",
        "contrast" / Int8ub * "对比度 0 to 127",
        "saturation" / Int8ub * "饱和度 0 to 127",
        "chroma" / Int8ub * "色度 0 to 255",
    ),
    direction=DOWN,
    answer=0x0805,
    clause="2013 §8.54, 2019 §8.53",
)
message(
    0x0805,
    "摄像头立即拍摄命令应答",
    "pictures taken",
    Struct(
        "ack_serial" / Int16ub * "应答流水号 serial of the command",
        "result" / Int8ub * "结果 0 done, 1 failed, 2 no such channel",
        "count" / Trailing(Int16ub, count_of("media_ids")) * "多媒体ID个数 media, only with result 0",
        "media_ids"
        / When(lambda this: this.count is not None, Array(this.count, Int32ub))
        * "多媒体ID列表 media, only with result 0",
    ),
    direction=UP,
    since=Edition.E2013,
    clause="2013 §8.55, 2019 §8.54",
)

PERIOD = (
    "start_time" / BcdTime * "起始时间 from; zeros: any time",
    "end_time" / BcdTime * "结束时间 until; zeros: any time",
)
message(
    0x8802,
    "存储多媒体数据检索",
    "search stored media",
    Struct(MEDIA_TYPE, "channel_id" / Int8ub * "通道ID 0 all", EVENT, *PERIOD),
    direction=DOWN,
    answer=0x0802,
    clause="2013 §8.56, 2019 §8.55",
)

FOUND_2011 = Struct(MEDIA_TYPE, CHANNEL, EVENT, "location" / FIX * "位置信息汇报 where it began")
FOUND = Struct(MEDIA_ID, MEDIA_TYPE, CHANNEL, EVENT, "location" / FIX * "位置信息汇报 where it began")
FOUND_WITH_ITEMS = Struct(
    MEDIA_ID, MEDIA_TYPE, CHANNEL, EVENT, "location" / REPORT * "位置信息汇报 where it began", END
)


def found(item: Construct, by_packet: Construct | None = None) -> Construct:
    """0x0802."""
    return Struct(
        "ack_serial" / Int16ub * "应答流水号 serial of the search",
        *numbered("items", item, ("count", Int16ub), "多媒体数据", by_packet=by_packet),
        END,
    )


message(
    0x0802,
    "存储多媒体数据检索应答",
    "stored media",
    {
        Edition.E2011: found(FOUND_2011, by_packet=Int16ub),
        Edition.E2013: found(FOUND),
    },
    variants={
        "2011 without packet count": found(FOUND_2011),
        # 2019 lets a location have items without saying how long it is: one medium alone is clear.
        "one with items": Struct(
            "ack_serial" / Int16ub * "应答流水号 serial of the search",
            "count" / Int16ub * "多媒体数据总项数 media found",
            "items" / Array(1, FOUND_WITH_ITEMS) * "检索项 medium",
        ),
    },
    direction=UP,
    clause="2011 §8.46, 2013 §8.57, 2019 §8.56",
)
message(
    0x8803,
    "存储多媒体数据上传命令",
    "upload stored media",
    Struct(
        MEDIA_TYPE, CHANNEL, EVENT, *PERIOD, "delete_flag" / Int8ub * "删除标志 0 keep, 1 delete afterwards"
    ),
    direction=DOWN,
    clause="2013 §8.58, 2019 §8.57",
)
message(
    0x8804,
    "录音开始命令",
    "record sound",
    Struct(
        "command" / Int8ub * "录音命令 0 stop, 1 start",
        "duration_s" / Int16ub * "录音时间 0 endless",
        "save_flag" / Int8ub * "保存标志 0 upload, 1 keep",
        "sample_rate" / Int8ub * "音频采样率 0 8 kHz, 1 11 kHz, 2 23 kHz, 3 32 kHz",
    ),
    direction=DOWN,
    clause="2013 §8.59, 2019 §8.58",
)
message(
    0x8805,
    "单条存储多媒体数据检索上传命令",
    "upload one stored medium",
    Struct(MEDIA_ID, "delete_flag" / Int8ub * "删除标志 0 keep, 1 delete afterwards"),
    direction=DOWN,
    since=Edition.E2013,
    clause="2013 §8.60, 2019 §8.59",
)
