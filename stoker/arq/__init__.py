"""arq applications on Stoker's engine: what their WorkerSettings say, and the JSON that their clients write.

`create_pool(..., job_serializer=to_json, job_deserializer=from_json)` makes a client of arq whose jobs run
where WorkerSettings name no serializer.
"""

from stoker.arq.serializers import from_json, to_json

__all__ = ["from_json", "to_json"]
