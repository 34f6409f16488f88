{{/* Every credential: the variable that holds it, and who gets it. */}}
{{- define "parley.credentials" -}}
databaseUrl: {variable: PARLEY_DATABASE_URL, for: [api, migrate]}
migrationDatabaseUrl: {variable: PARLEY_DATABASE_URL, for: [migrate]}
databasePassword: {variable: PARLEY_DATABASE_PASSWORD, for: [api, migrate]}
natsUrl: {variable: PARLEY_NATS_URL, for: [api, gateway]}
natsApiPassword: {variable: PARLEY_NATS_PASSWORD, for: [api]}
natsGatewayPassword: {variable: PARLEY_NATS_PASSWORD, for: [gateway]}
redisUrl: {variable: PARLEY_REDIS_URL, for: [api, gateway]}
redisPassword: {variable: PARLEY_REDIS_PASSWORD, for: [api, gateway]}
redisSentinelPassword: {variable: PARLEY_REDIS_SENTINEL_PASSWORD, for: [api, gateway]}
jwtSecret: {variable: PARLEY_JWT_SECRET, for: [api, gateway]}
peerSecret: {variable: PARLEY_PEER_SECRET, for: [gateway]}
linkSecret: {variable: PARLEY_LINK_SECRET, for: [api]}
beforeMessageSecret: {variable: PARLEY_BEFORE_MESSAGE_SECRET, for: [api]}
s3AccessKey: {variable: PARLEY_S3_ACCESS_KEY, for: [api]}
s3SecretKey: {variable: PARLEY_S3_SECRET_KEY, for: [api]}
{{- end -}}

{{- define "parley.trial.made" -}}databaseUrl natsUrl redisUrl{{- end -}}

{{/* The Secret that has a credential; empty if the credential is not used. Takes root and credential (its name). */}}
{{- define "parley.credential.secret" -}}
{{- $values := .root.Values.credentials -}}
{{- $one := index $values .credential -}}
{{- $trial := and .root.Values.trial.enabled (has .credential (splitList " " (include "parley.trial.made" .))) -}}
{{- if not $one.key -}}
{{- else if $one.secret -}}{{ $one.secret }}
{{- else if $trial -}}{{ include "parley.fullname" .root }}-trial
{{- else if eq $values.source "existing" -}}{{ required "credentials.existingSecret is the Secret of credentials.source=existing" $values.existingSecret }}
{{- else -}}{{ include "parley.fullname" .root }}-credentials
{{- end -}}
{{- end -}}

{{/* Variables with the credentials of one workload. A hook runs before the chart's own objects are there, and takes those
of a Secret beside it. Takes root, workload, hook. */}}
{{- define "parley.credentials.environment" -}}
{{- $made := printf "%s-credentials" (include "parley.fullname" .root) -}}
{{- range $name, $credential := include "parley.credentials" . | fromYaml -}}
{{- $secret := include "parley.credential.secret" (dict "root" $.root "credential" $name) -}}
{{- $passed := and (has $name (list "databaseUrl" "databasePassword")) (eq $.workload "migrate") $.root.Values.credentials.migrationDatabaseUrl.key -}}
{{- if and $secret (has $.workload $credential.for) (not $passed) }}
- name: {{ $credential.variable }}
  valueFrom:
    secretKeyRef:
      name: {{ ternary (printf "%s-migrate" (include "parley.fullname" $.root)) $secret (and (default false $.hook) (eq $secret $made)) }}
      key: {{ index $.root.Values.credentials $name "key" }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Names of the credentials that the chart has to bring: those of one workload, or of all. Takes root and workload. */}}
{{- define "parley.credentials.brought" -}}
{{- $made := printf "%s-credentials" (include "parley.fullname" .root) -}}
{{- range $name, $credential := include "parley.credentials" . | fromYaml -}}
{{- $secret := include "parley.credential.secret" (dict "root" $.root "credential" $name) -}}
{{- if and (eq $secret $made) (or (not $.workload) (has $.workload $credential.for)) }}{{ $name }} {{ end }}
{{- end }}
{{- end -}}

{{/* The data of a Secret whose values stand in the values. Takes root and names. */}}
{{- define "parley.credentials.data" -}}
{{- range compact .names }}
{{- $one := index $.root.Values.credentials . }}
{{ $one.key }}: {{ required (printf "credentials.%s.value is missing: credentials.source is values" .) $one.value | quote }}
{{- end }}
{{- end -}}

{{/* The spec of an ExternalSecret. Takes root, names and target. */}}
{{- define "parley.credentials.external" -}}
{{- $external := .root.Values.credentials.external -}}
refreshInterval: {{ $external.refreshInterval }}
secretStoreRef:
  kind: {{ $external.storeKind }}
  name: {{ required "credentials.external.store is missing: credentials.source is external" $external.store }}
target:
  name: {{ .target }}
  creationPolicy: Owner
data:
  {{- range .names }}
  {{- $one := index $.root.Values.credentials . }}
  - secretKey: {{ $one.key }}
    remoteRef:
      key: {{ required (printf "credentials.%s.remote.key is missing: credentials.source is external" .) $one.remote.key }}
      {{- with $one.remote.property }}
      property: {{ . }}
      {{- end }}
  {{- end }}
{{- end -}}

{{/* Refuses what no pod could start with. */}}
{{- define "parley.credentials.check" -}}
{{- range list "databaseUrl" "natsUrl" "peerSecret" -}}
{{- if not (index $.Values.credentials . "key") -}}{{ fail (printf "credentials.%s.key is empty: no pod starts without it" .) }}{{- end -}}
{{- end -}}
{{- range $name := list "api" "gateway" -}}
{{- $settings := include "parley.settings" (dict "root" $ "name" $name) | fromYaml -}}
{{- if not (or $.Values.credentials.jwtSecret.key $settings.JWKS_URL $settings.JWKS_FILE) -}}
{{- fail (printf "%s trusts no token: credentials.jwtSecret.key is empty, and no JWKS_URL or JWKS_FILE is set" $name) -}}
{{- end -}}
{{- if eq (empty $.Values.credentials.redisUrl.key) (empty $settings.REDIS_SENTINELS) -}}
{{- fail (printf "%s wants one of credentials.redisUrl.key and REDIS_SENTINELS in its settings" $name) -}}
{{- end -}}
{{- end -}}
{{- $api := include "parley.settings" (dict "root" $ "name" "api") | fromYaml -}}
{{- if ne (empty .Values.credentials.beforeMessageSecret.key) (empty $api.BEFORE_MESSAGE_URL) -}}
{{- fail "credentials.beforeMessageSecret and BEFORE_MESSAGE_URL in the settings go together" -}}
{{- end -}}
{{- if ne (empty .Values.credentials.s3AccessKey.key) (empty .Values.credentials.s3SecretKey.key) -}}
{{- fail "credentials.s3AccessKey and credentials.s3SecretKey go together" -}}
{{- end -}}
{{- end -}}
