"""What operators see of a running service: logs, metrics, and spans of traces.

None of them holds a word of a request or a reply.

Reading order: `logs`, `metrics`, `requests`, `spans`, `otlp`.
"""
