"""Parameters of JT/T 1078-2016 §5.3.1, tables 1 to 10."""

from typing import Any, Final

from construct import Array, Construct, Default, Int8ub, Int16ub, Int32ub, Rebuild, Struct, len_, this

from protocol.adapters import BcdDigits
from protocol.parameter import parameter


def encoding(use: str, chinese: str) -> tuple[Construct, ...]:
    """How one of the two streams of a channel is encoded."""
    return (
        f"{use}_encode" / Int8ub * f"{chinese}编码模式 0 constant, 1 variable, 2 mean bit rate",
        f"{use}_resolution" / Int8ub * f"{chinese}分辨率 0 QCIF, 1 CIF, 2 WCIF, 3 D1, 4 WD1, 5 720P, 6 1080P",
        f"{use}_frame_interval" / Int16ub * f"{chinese}关键帧间隔 frames between key frames",
        f"{use}_frame_rate" / Int8ub * f"{chinese}目标帧率 frames per second",
        f"{use}_bit_rate" / Int32ub * f"{chinese}目标码率 kbit/s",
    )


ENCODING = (
    *encoding("realtime", "实时流"),
    *encoding("storage", "存储流"),
    "osd_config"
    / Int16ub
    * "OSD字幕叠加设置 bits 0 time, 1 plate, 2 channel, 3 place, 4 recorder's speed, 5 GNSS speed, 6 "
    "driving time",
)
CHANNEL = "channel" / Int8ub * "逻辑通道号 channel"


def _of_type(this: Any, type: int) -> int:
    return sum(channel["channel_type"] == type for channel in this.channels)


parameter(
    0x0075,
    "音视频参数设置",
    "encoding of all channels",
    Struct(*ENCODING, "audio_enabled" / Int8ub * "是否启用音频输出 1 with sound"),
    clause="1078-2016 table 2",
)
parameter(
    0x0076,
    "音视频通道列表设置",
    "channels",
    Struct(
        "av_channels" / Default(Int8ub, lambda this: _of_type(this, 0)) * "音视频通道总数 channels with both",
        "audio_channels" / Default(Int8ub, lambda this: _of_type(this, 1)) * "音频通道总数 with sound only",
        "video_channels"
        / Default(Int8ub, lambda this: len(this.channels) - _of_type(this, 0) - _of_type(this, 1))
        * "视频通道总数 with video only",
        "channels"
        / Array(
            this.av_channels + this.audio_channels + this.video_channels,
            Struct(
                "physical_channel" / Int8ub * "物理通道号 plug, from 1",
                CHANNEL,
                "channel_type" / Int8ub * "通道类型 0 both, 1 sound, 2 video",
                "has_ptz" / Int8ub * "是否连接云台 1 can be turned",
            ),
        )
        * "音视频通道对照表 channels",
    ),
    clause="1078-2016 tables 3 and 4",
)
parameter(
    0x0077,
    "单独视频通道参数设置",
    "encoding of single channels",
    Struct(
        "count" / Rebuild(Int8ub, len_(this.channels)) * "通道数量 channels",
        "channels" / Array(this.count, Struct(CHANNEL, *ENCODING)) * "单独通道视频参数设置列表 channels",
    ),
    clause="1078-2016 tables 5 and 6",
)
parameter(
    0x0079,
    "特殊报警录像参数设置",
    "recordings of special alarms",
    Struct(
        "storage_threshold" / Int8ub * "特殊报警录像存储阈值 percent of the storage",
        "duration" / Int8ub * "特殊报警录像持续时间 longest, minutes",
        "start_time" / Int8ub * "特殊报警标识起始时间 minutes before the alarm",
    ),
    clause="1078-2016 table 7",
)
parameter(0x007A, "视频相关报警屏蔽字", "video alarms that are masked", Int32ub, clause="1078-2016 table 1")
parameter(
    0x007B,
    "图像分析报警参数设置",
    "alarms by image analysis",
    Struct(
        "overload_threshold" / Int8ub * "车辆核载人数 persons allowed",
        "fatigue_threshold" / Int8ub * "疲劳程度阈值 degree of fatigue",
    ),
    clause="1078-2016 table 8",
)


class _Clock(BcdDigits):
    """Two bytes hh mm as "08:30"."""

    def __init__(self) -> None:
        super().__init__(2)

    def _decode(self, obj: bytes, context: Any, path: Any) -> str:
        return f"{obj[:1].hex()}:{obj[1:].hex()}"

    def _encode(self, obj: str, context: Any, path: Any) -> bytes:
        return bytes.fromhex(obj[:5].replace(":", ""))


Clock: Final = _Clock()

parameter(
    0x007C,
    "终端休眠唤醒模式设置",
    "when to sleep and wake",
    Struct(
        "mode" / Int8ub * "休眠唤醒模式 bits 0 by condition, 1 by time, 2 by hand",
        "condition_type" / Int8ub * "唤醒条件类型 bits 0 emergency, 1 collision or rollover, 2 door opened",
        "day_of_week" / Int8ub * "定时唤醒日设置 bits 0 Monday to 6 Sunday",
        "time_flag" / Int8ub * "定时唤醒启用标志 bits 0 to 3: which periods",
        *(
            field
            for n in range(1, 5)
            for field in (
                f"wake_time{n}" / Clock * f"时间段{n}唤醒时间 wakes at",
                f"sleep_time{n}" / Clock * f"时间段{n}关闭时间 sleeps at",
            )
        ),
    ),
    clause="1078-2016 tables 9 and 10",
)
