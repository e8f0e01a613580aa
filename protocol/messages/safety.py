"""Active safety on the 808 link: alarms' attachments, devices behind the terminal, upgrades. T/JSATL 12-2017
§4 (苏标) and T/GDRTA 002-2020 §5 (粤标). The alarms themselves are items of a location report.

Attachments travel on a link of their own, in this order: 0x1210 what there is; for each file 0x1211, the file
itself in packets of `protocol.attachments`, 0x1212, and 0x9212 with what is missing; then the terminal hangs
up.
"""

from typing import Final

from construct import Array, Construct, Int8ub, Int16ub, Int32ub, Prefixed, Rebuild, Struct, len_, this

from protocol.adapters import END, HexBytes, Text, counted
from protocol.body import Embedded
from protocol.edition import Edition
from protocol.items.active_safety import IDENTIFIERS
from protocol.message import DOWN, UP, message
from protocol.passthrough import passthrough

SU: Final = "苏标"
"""The dialect of T/JSATL 12-2017, which terminals use unless their body is of another length or their profile
says otherwise, whatever the edition of their header."""

OWN_ID: Final = {"苏标": 7, "粤标": 30, "湖南": 7, "四川": 30, "黑龙江": 0}
"""Bytes of the terminal's ID at the head of 0x1210, by dialect; 黑龙江 has none."""

ALARM_ID: Final = "alarm_id" / Text(32) * "报警编号 the platform's name for the alarm"
FILE_TYPE: Final = (
    "file_type"
    / Int8ub
    * "文件类型 0 picture, 1 sound, 2 video, 3 text, 4 other (粤标: face), 5 other (粤标)"
)
FILE: Final = (
    *counted("file_name", Int8ub, "文件名称", "type_channel_alarm_number_alarmid.suffix"),
    FILE_TYPE,
    "file_size" / Int32ub * "文件大小 bytes",
)


def request(identifier: Construct) -> Construct:
    """Declare 0x9208."""
    return Struct(
        *counted("server_ip", Int8ub, "附件服务器IP地址", "server for attachments"),
        "tcp_port" / Int16ub * "附件服务器TCP端口 its TCP port",
        "udp_port" / Int16ub * "附件服务器UDP端口 its UDP port",
        "alarm_identifier" / identifier * "报警标识号 the alarm as its report named it",
        ALARM_ID,
        "reserve" / HexBytes(16) * "预留 reserved",
        END,
    )


def attachments(own_id: int, identifier: Construct) -> Construct:
    """Declare 0x1210."""
    head = ("terminal_id" / Text(own_id) * "终端ID terminal",) if own_id else ()
    return Struct(
        *head,
        "alarm_identifier" / identifier * "报警标识号 the alarm as its report named it",
        ALARM_ID,
        "info_type" / Int8ub * "信息类型 0 first upload, 1 what a broken link left over",
        "attachment_count" / Rebuild(Int8ub, len_(this.items)) * "附件数量 attachments",
        "items"
        / Array(
            this.attachment_count,
            Struct(
                *counted("file_name", Int8ub, "文件名称", "file"),
                "file_size" / Int32ub * "文件大小 bytes",
            ),
        )
        * "附件信息列表 attachments",
        END,
    )


_REQUESTS = {dialect: request(identifier) for dialect, identifier in IDENTIFIERS.items()}
_ATTACHMENTS = {
    dialect: attachments(OWN_ID[dialect], identifier) for dialect, identifier in IDENTIFIERS.items()
}

message(
    0x9208,
    "报警附件上传指令",
    "ask for an alarm's attachments",
    _REQUESTS.pop(SU),
    variants=_REQUESTS,
    direction=DOWN,
    clause="T/JSATL 12-2017 §4.5 table 4-21, T/GDRTA 002-2020 §5.5 table 5-21",
)
message(
    0x1210,
    "报警附件信息消息",
    "an alarm's attachments",
    _ATTACHMENTS.pop(SU),
    variants=_ATTACHMENTS,
    direction=UP,
    clause="T/JSATL 12-2017 §4.6.2 table 4-23, T/GDRTA 002-2020 §5.6.2 table 5-23",
)
message(
    0x1211,
    "文件信息上传",
    "a file begins",
    Struct(*FILE),
    direction=UP,
    clause="T/JSATL 12-2017 §4.6.3 table 4-25, T/GDRTA 002-2020 §5.6.3 table 5-25",
)
message(
    0x1212,
    "文件上传完成消息",
    "a file ends",
    Struct(*FILE),
    direction=UP,
    answer=0x9212,
    clause="T/JSATL 12-2017 §4.6.5 table 4-27, T/GDRTA 002-2020 §5.6.5 table 5-27",
)
message(
    0x9212,
    "文件上传完成消息应答",
    "file received",
    Struct(
        *counted("file_name", Int8ub, "文件名称", "file"),
        FILE_TYPE,
        "result" / Int8ub * "上传结果 0 complete, 1 parts are missing",
        "package_count" / Rebuild(Int8ub, len_(this.packages)) * "补传数据包数量 parts to send again",
        "packages"
        / Array(
            this.package_count,
            Struct(
                "offset" / Int32ub * "数据偏移量 where in the file",
                "length" / Int32ub * "数据长度 bytes",
            ),
        )
        * "补传数据包列表 parts to send again",
    ),
    direction=DOWN,
    answer=None,
    clause="T/JSATL 12-2017 §4.6.6 table 4-28, T/GDRTA 002-2020 §5.6.6 table 5-28",
)
message(
    0x1FC4,
    "终端升级进度上报",
    "progress of an upgrade",
    Struct(
        "ack_serial" / Int16ub * "流水号 serial of the command to upgrade",
        "upgrade_type"
        / Int8ub
        * "升级类型 0 terminal, 12 IC card reader, 52 GNSS module, 0x64 ADAS, 0x65 DSM, 0x66 TPMS, 0x67 BSD",
        "upgrade_status"
        / Int8ub
        * "升级状态 download 1 runs, 2 done, 3 failed; installing 4, 5, 6; 7 no such device, 8 hardware and "
        "10 software not fit, 9 same version, 11 other",
        "upload_progress" / Int8ub * "升级进度 percent",
        "error_code" / Int8ub * "错误码 the maker's",
    ),
    direction=UP,
    since=Edition.E2019,
    clause="T/GDRTA 002-2020 §5.7.3 table 5-33",
)

# Devices behind the terminal: contents of 0x8900 and 0x0900

STATE, SYSTEM = 0xF7, 0xF8
"""透传消息类型 of both directions."""

DEVICE_ID = "device_id" / Int8ub * "外设ID 0x64 ADAS, 0x65 DSM, 0x66 TPMS, 0x67 BSD"

DEVICE_STATE = Struct(
    "working_state" / Int8ub * "工作状态 1 works, 2 stands by, 3 is upgraded, 4 faulty, 16 disconnected",
    "faults"
    / Int32ub
    * "报警状态 bits 0 camera, 1 main and 2 second storage, 3 infrared light, 4 loudspeaker, 5 battery, "
    "10 radio, 11 positioning",
)
DEVICE_SYSTEM = Struct(
    "company" / Prefixed(Int8ub, Text()) * "公司名称 maker",
    "model" / Prefixed(Int8ub, Text()) * "产品型号 model",
    "hardware_version" / Prefixed(Int8ub, Text()) * "硬件版本号 hardware",
    "software_version" / Prefixed(Int8ub, Text()) * "软件版本号 software",
    "device_number" / Prefixed(Int8ub, Text()) * "设备ID the maker's number of the device",
    "customer" / Prefixed(Int8ub, Text()) * "客户代码 the maker's code of the customer",
)

for _type, _chinese, _name, _device, _table in (
    (STATE, "外设状态信息", "state of devices", DEVICE_STATE, "4-6"),
    (SYSTEM, "外设系统信息", "versions of devices", DEVICE_SYSTEM, "4-7"),
):
    passthrough(
        _type,
        _chinese,
        _name,
        Struct(
            "count" / Rebuild(Int8ub, len_(this.items)) * "消息列表总数 devices",
            "items"
            / Array(this.count, Struct(DEVICE_ID, "content" / Embedded(Int8ub, _device) * "消息内容 content"))
            * "外设消息列表 devices",
            END,
        ),
        direction=UP,
        clause=f"T/JSATL 12-2017 table {_table}",
    )
    passthrough(
        _type,
        _chinese,
        f"ask for {_name}",
        Struct(
            "count" / Rebuild(Int8ub, len_(this.device_ids)) * "外设ID列表总数 devices",
            "device_ids" / Array(this.count, Int8ub) * "外设ID 0x64 ADAS, 0x65 DSM, 0x66 TPMS, 0x67 BSD",
            END,
        ),
        direction=DOWN,
        clause="T/JSATL 12-2017 table 4-1",
    )
