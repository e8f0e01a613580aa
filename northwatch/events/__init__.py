"""Events for others (事件推送): alarms, links and tickets to an MQTT broker, documented in `docs/mqtt.md`.

store.outbox → messages (pure: row → topic and payload) → publisher → broker
"""
