"""Parameters of JT/T 808: 2011 table 11, 2013 tables 12 to 14, 2019 tables 13 to 15."""

from construct import Int8ub, Int16ub, Int32ub

from protocol.adapters import HexBytes, Text
from protocol.edition import Edition
from protocol.parameter import parameter

E2013, E2019 = Edition.E2013, Edition.E2019

# The link
parameter(0x0001, "终端心跳发送间隔", "time between heartbeats", Int32ub, unit="s")
parameter(0x0002, "TCP消息应答超时时间", "time to wait for an answer by TCP", Int32ub, unit="s")
parameter(0x0003, "TCP消息重传次数", "retries by TCP", Int32ub)
parameter(0x0004, "UDP消息应答超时时间", "time to wait for an answer by UDP", Int32ub, unit="s")
parameter(0x0005, "UDP消息重传次数", "retries by UDP", Int32ub)
parameter(0x0006, "SMS消息应答超时时间", "time to wait for an answer by SMS", Int32ub, unit="s")
parameter(0x0007, "SMS消息重传次数", "retries by SMS", Int32ub)
parameter(0x0010, "主服务器APN", "main server: APN, or dial number for CDMA", Text())
parameter(0x0011, "主服务器无线通信拨号用户名", "main server: dial-in user", Text())
parameter(0x0012, "主服务器无线通信拨号密码", "main server: dial-in password", Text())
parameter(0x0013, "主服务器地址", "main server: address; 2019 with ports, separated by ';'", Text())
parameter(0x0014, "备份服务器APN", "second server: APN, or dial number for CDMA", Text())
parameter(0x0015, "备份服务器无线通信拨号用户名", "second server: dial-in user", Text())
parameter(0x0016, "备份服务器无线通信拨号密码", "second server: dial-in password", Text())
parameter(0x0017, "备份服务器地址", "second server: address; 2019 with ports, separated by ';'", Text())
parameter(0x0018, "服务器TCP端口", "TCP port", Int32ub, until=E2013)
parameter(0x0019, "服务器UDP端口", "UDP port", Int32ub, until=E2013)
parameter(0x001A, "道路运输证IC卡认证主服务器地址", "main server of IC cards: address", Text(), since=E2013)
parameter(
    0x001B, "道路运输证IC卡认证主服务器TCP端口", "main server of IC cards: TCP port", Int32ub, since=E2013
)
parameter(
    0x001C, "道路运输证IC卡认证主服务器UDP端口", "main server of IC cards: UDP port", Int32ub, since=E2013
)
parameter(
    0x001D, "道路运输证IC卡认证备份服务器地址", "second server of IC cards: address", Text(), since=E2013
)

# Location reports
parameter(0x0020, "位置汇报策略", "report by 0 time, 1 distance, 2 both", Int32ub)
parameter(0x0021, "位置汇报方案", "intervals by 0 ACC, 1 driver's log-in and ACC", Int32ub)
parameter(0x0022, "驾驶员未登录汇报时间间隔", "time between reports without a driver", Int32ub, unit="s")
parameter(0x0023, "从服务器APN", "slave server: APN", Text(), since=E2019)
parameter(0x0024, "从服务器无线通信拨号用户名", "slave server: dial-in user", Text(), since=E2019)
parameter(0x0025, "从服务器无线通信拨号密码", "slave server: dial-in password", Text(), since=E2019)
parameter(0x0026, "从服务器备份地址", "slave server: addresses with ports", Text(), since=E2019)
parameter(0x0027, "休眠时汇报时间间隔", "time between reports asleep", Int32ub, unit="s")
parameter(0x0028, "紧急报警时汇报时间间隔", "time between reports in an emergency", Int32ub, unit="s")
parameter(0x0029, "缺省时间汇报间隔", "time between reports", Int32ub, unit="s")
parameter(0x002C, "缺省距离汇报间隔", "distance between reports", Int32ub, unit="m")
parameter(0x002D, "驾驶员未登录汇报距离间隔", "distance between reports without a driver", Int32ub, unit="m")
parameter(0x002E, "休眠时汇报距离间隔", "distance between reports asleep", Int32ub, unit="m")
parameter(0x002F, "紧急报警时汇报距离间隔", "distance between reports in an emergency", Int32ub, unit="m")
parameter(0x0030, "拐点补传角度", "turn that makes another report", Int32ub, unit="°")
parameter(0x0031, "电子围栏半径", "movement that counts as illegal", Int16ub, unit="m", since=E2013)
parameter(
    0x0032, "违规行驶时段范围", "forbidden hours: from and until, hour and minute", HexBytes(4), since=E2019
)

# Telephone
parameter(0x0040, "监控平台电话号码", "platform's phone number", Text())
parameter(0x0041, "复位电话号码", "number whose call resets the terminal", Text())
parameter(0x0042, "恢复出厂设置电话号码", "number whose call restores the factory settings", Text())
parameter(0x0043, "监控平台SMS电话号码", "platform's SMS number", Text())
parameter(0x0044, "接收终端SMS文本报警号码", "number that alarms are texted to", Text())
parameter(0x0045, "终端电话接听策略", "answer calls: 0 always, 1 with ACC on", Int32ub)
parameter(0x0046, "每次最长通话时间", "longest call; 0 none, 0xFFFFFFFF endless", Int32ub, unit="s")
parameter(0x0047, "当月最长通话时间", "calls in a month; 0 none, 0xFFFFFFFF endless", Int32ub, unit="s")
parameter(0x0048, "监听电话号码", "number that listens in", Text())
parameter(0x0049, "监管平台特权短信号码", "authority's SMS number", Text())

# Alarms: masks have the bits of the alarm word
parameter(0x0050, "报警屏蔽字", "alarms that are masked", Int32ub)
parameter(0x0051, "报警发送文本SMS开关", "alarms that are texted", Int32ub)
parameter(0x0052, "报警拍摄开关", "alarms that take a picture", Int32ub)
parameter(0x0053, "报警拍摄存储标志", "alarms whose picture is kept instead of uploaded", Int32ub)
parameter(0x0054, "关键标志", "key alarms", Int32ub)
parameter(0x0055, "最高速度", "speed limit", Int32ub, unit="km/h")
parameter(0x0056, "超速持续时间", "time above the limit that counts", Int32ub, unit="s")
parameter(0x0057, "连续驾驶时间门限", "longest drive", Int32ub, unit="s")
parameter(0x0058, "当天累计驾驶时间门限", "driving in a day", Int32ub, unit="s")
parameter(0x0059, "最小休息时间", "shortest rest", Int32ub, unit="s")
parameter(0x005A, "最长停车时间", "longest stop", Int32ub, unit="s")
parameter(0x005B, "超速预警差值", "warning before the limit", Int16ub, unit="0.1 km/h", since=E2013)
parameter(0x005C, "疲劳驾驶预警差值", "warning before fatigue", Int16ub, unit="s", since=E2013)
parameter(
    0x005D, "碰撞报警参数", "collision: low byte time in 4 ms, high byte in 0.1 g", Int16ub, since=E2013
)
parameter(0x005E, "侧翻报警参数", "rollover angle", Int16ub, unit="°", since=E2013)

# Cameras
parameter(0x0064, "定时拍照控制", "pictures by time: bits of table 13", Int32ub, since=E2013)
parameter(0x0065, "定距拍照控制", "pictures by distance: bits of table 14", Int32ub, since=E2013)
parameter(0x0070, "图像/视频质量", "quality, 1 best to 10", Int32ub)
parameter(0x0071, "亮度", "brightness, 0 to 255", Int32ub)
parameter(0x0072, "对比度", "contrast, 0 to 127", Int32ub)
parameter(0x0073, "饱和度", "saturation, 0 to 127", Int32ub)
parameter(0x0074, "色度", "chroma, 0 to 255", Int32ub)

# The vehicle. 2011 prints DWORD for 0x0081 to 0x0084, a plate included: whatever else comes stays raw.
parameter(0x0080, "车辆里程表读数", "mileage", Int32ub, unit="0.1 km")
parameter(0x0081, "车辆所在的省域ID", "province", Int16ub)
parameter(0x0082, "车辆所在的市域ID", "city", Int16ub)
parameter(0x0083, "机动车号牌", "plate", Text())
parameter(0x0084, "车牌颜色", "plate colour", Int8ub)

# GNSS and CAN
parameter(0x0090, "GNSS定位模式", "bits 0 GPS, 1 Beidou, 2 GLONASS, 3 Galileo", Int8ub, since=E2013)
parameter(0x0091, "GNSS波特率", "GNSS baud: 4800 shifted left by this", Int8ub, since=E2013)
parameter(
    0x0092, "GNSS详细定位数据输出频率", "GNSS output every 0 500, 1 1000 … 4 4000 ms", Int8ub, since=E2013
)
parameter(0x0093, "GNSS详细定位数据采集频率", "GNSS sampling", Int32ub, unit="s", since=E2013)
parameter(
    0x0094,
    "GNSS详细定位数据上传方式",
    "GNSS upload: 0 none, every 1 time, 2 distance; until 0x0B time, 0x0C distance, 0x0D number",
    Int8ub,
    since=E2013,
)
parameter(0x0095, "GNSS详细定位数据上传设置", "GNSS upload: how much of it", Int32ub, since=E2013)
parameter(0x0100, "CAN总线通道1采集时间间隔", "CAN1 sampling, 0 none", Int32ub, unit="ms", since=E2013)
parameter(0x0101, "CAN总线通道1上传时间间隔", "CAN1 upload, 0 none", Int16ub, unit="s", since=E2013)
parameter(0x0102, "CAN总线通道2采集时间间隔", "CAN2 sampling, 0 none", Int32ub, unit="ms", since=E2013)
parameter(0x0103, "CAN总线通道2上传时间间隔", "CAN2 upload, 0 none", Int16ub, unit="s", since=E2013)
for _id in range(0x0110, 0x0200):
    parameter(
        _id,
        "CAN总线ID单独采集设置",
        "sampling of one CAN id: ms DWORD, then bits 31 CAN2, 30 extended, 29 mean, 28 to 0 the id",
        HexBytes(8),
        since=E2013,
    )
