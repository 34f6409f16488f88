"""Values that make no sense, and what Helm says to each."""

from chart import Rendering, merged

TRIAL = {"trial": {"enabled": True, "password": "Trial0Trial0Trial0"}, "migrations": {"mode": "init"}}

# What is wrong, the values, and a part of the message.
NONSENSE = [
    ("an unknown value", {"replicas": 3}, "additional properties 'replicas' not allowed"),
    ("an unknown value of a workload", {"api": {"replica": 3}}, "additional properties 'replica' not allowed"),
    ("no pods", {"gateway": {"replicas": 0}}, "at '/gateway/replicas': minimum: got 0, want 1"),
    ("text for a number", {"gateway": {"drainSeconds": "30s"}}, "at '/gateway/drainSeconds': got string, want integer"),
    ("a setting that there is not", {"api": {"settings": {"MAX_BODY_BYTE": 1}}}, "invalid propertyName 'MAX_BODY_BYTE'"),
    ("a setting of the other program", {"gateway": {"settings": {"MAX_BODY_BYTES": 1}}}, "invalid propertyName 'MAX_BODY_BYTES'"),
    ("a secret among the settings", {"settings": {"JWT_SECRET": "open"}}, "invalid propertyName 'JWT_SECRET'"),
    ("a setting that the chart sets", {"gateway": {"settings": {"DRAIN_SECONDS": 60}}}, "invalid propertyName 'DRAIN_SECONDS'"),
    ("the tag latest", {"image": {"tag": "latest"}}, "at '/image/tag'"),
    ("an image without a tag", {"test": {"image": "curlimages/curl"}}, "at '/test/image'"),
    ("an image that is latest", {"test": {"image": "curlimages/curl:latest"}}, "at '/test/image'"),
    ("root", {"pods": {"user": 0}}, "at '/pods/user': minimum"),
    ("a budget that lets nobody go", {"api": {"disruption": {"maxUnavailable": 0}}}, "at '/api/disruption/maxUnavailable'"),
    ("a storage that there is not", {"files": {"storage": "disk"}}, "at '/files/storage': value must be one of"),
    ("a host with a path", {"ingress": {"hosts": ["chat.example.com/api"]}}, "at '/ingress/hosts/0'"),
    ("no requests of resources", {"api": {"resources": {"requests": None}}}, "missing property 'requests'"),
    ("a short password of the trial", merged(TRIAL, {"trial": {"password": "short"}}), "at '/trial/password'"),
    ("no password of the trial", merged(TRIAL, {"trial": {"password": ""}}), "trial.password is missing"),
    ("a hook before the trial's Postgres", merged(TRIAL, {"migrations": {"mode": "hook"}}), "take migrations.mode=init"),
    ("no database", {"credentials": {"databaseUrl": {"key": ""}}}, "credentials.databaseUrl.key is empty"),
    ("neither a Redis nor sentinels", {"credentials": {"redisUrl": {"key": ""}}}, "wants one of credentials.redisUrl.key and REDIS_SENTINELS"),
    ("no trust in any token", {"credentials": {"jwtSecret": {"key": ""}}}, "api trusts no token"),
    ("half a key of the bucket", {"credentials": {"s3AccessKey": {"key": "a"}}}, "go together"),
    ("a hook whose calls nobody signs", {"settings": {"BEFORE_MESSAGE_URL": "https://app/before"}}, "go together"),
    ("credentials in values that are not there", {"credentials": {"source": "values"}}, "value is missing"),
    ("an external secret without a store", {"credentials": {"source": "external"}}, "missing"),
    ("no Secret", {"credentials": {"existingSecret": ""}}, "credentials.existingSecret is the Secret"),
    ("no claim for the files", {"files": {"storage": "claim"}}, "files.claim is the claim"),
    ("a route without a Gateway", {"httpRoute": {"enabled": True}}, "the route belongs to no Gateway"),
    ("more pods at least than at most", {"api": {"autoscaling": {"minReplicas": 9}}}, "api.autoscaling.minReplicas is more than maxReplicas"),
]


def problems():
    for name, values, message in NONSENSE:
        rendering = Rendering(name, values=values)
        if not rendering.error:
            yield f"{name} is taken"
        elif message not in rendering.error:
            yield f"{name}: {rendering.error!r} does not say {message!r}"
