{{/*
What runs as a Deployment. A workload is: a section of the values under its name, and here its program, its ports, its
credentials (rows of "parley.credentials") and what its pods talk to (`reaches`: keys of `networkPolicy`, or a workload and
its port). Volumes and variables that only it has are in the templates parley.<name>.environment, .volumes and .mounts.
*/}}
{{- define "parley.workloads" -}}
api:
  program: parley-api
  ports: {http: 8081, admin: 9080}
  published: true
  reaches: [postgres, nats, redis, https, traces]
  migrates: true
gateway:
  program: parley-gateway
  ports: {http: 8091, peers: 8092, admin: 9080}
  published: true
  reaches: [nats, redis, https, traces]
  peers: true
{{- end -}}

{{/* What a workload talks to, as it is set: HTTPS to the bucket or to whoever has the JWKS, traces to a collector. Takes root, name and
workload; a list. */}}
{{- define "parley.reaches" -}}
{{- $settings := include "parley.settings" . | fromYaml -}}
{{- $bucket := and (eq .name "api") (eq .root.Values.files.storage "bucket") -}}
{{- $hook := and (eq .name "api") (hasKey $settings "BEFORE_MESSAGE_URL") -}}
{{- $unused := list (ternary "" "https" (or $bucket $hook (hasKey $settings "JWKS_URL"))) (ternary "" "traces" (hasKey $settings "OTLP_ENDPOINT")) -}}
{{- range .workload.reaches }}{{ if not (has . $unused) }}
- {{ . }}
{{- end }}{{ end -}}
{{- end -}}

{{/* Seconds from SIGTERM until a process gives up what has not ended; a drain has to fit in. */}}
{{- define "parley.api.shutdownSeconds" -}}{{ .Values.api.shutdownSeconds }}{{- end -}}
{{- define "parley.gateway.shutdownSeconds" -}}{{ add .Values.gateway.drainSeconds 10 }}{{- end -}}

{{- define "parley.api.environment" -}}
{{- $files := .Values.files -}}
{{- if eq $files.storage "bucket" }}
- {name: PARLEY_S3_BUCKET, value: {{ $files.bucket.name | quote }}}
- {name: PARLEY_S3_REGION, value: {{ $files.bucket.region | quote }}}
{{- with $files.bucket.endpoint }}
- {name: PARLEY_S3_ENDPOINT, value: {{ . | quote }}}
{{- end }}
- {name: PARLEY_S3_PATH_STYLE, value: {{ $files.bucket.pathStyle | quote }}}
- {name: PARLEY_S3_ALLOW_HTTP, value: {{ $files.bucket.allowHttp | quote }}}
{{- else }}
- {name: PARLEY_FILES_FOLDER, value: /files}
{{- end }}
{{- end -}}

{{- define "parley.api.volumes" -}}
{{- if eq .Values.files.storage "claim" }}
- name: files
  persistentVolumeClaim: {claimName: {{ required "files.claim is the claim of files.storage=claim" .Values.files.claim }}}
{{- else if eq .Values.files.storage "ephemeral" }}
- {name: files, emptyDir: {}}
{{- end }}
{{- end -}}

{{- define "parley.api.mounts" -}}
{{- if ne .Values.files.storage "bucket" }}
- {name: files, mountPath: /files}
{{- end }}
{{- end -}}

{{- define "parley.gateway.environment" -}}
- {name: PARLEY_DRAIN_SECONDS, value: {{ .Values.gateway.drainSeconds | quote }}}
- {name: PARLEY_PEER_LISTEN, value: "{{ include "parley.any" . }}:8092"}
- name: POD_IP
  valueFrom: {fieldRef: {fieldPath: status.podIP}}
- {name: PARLEY_PEER_ADDRESS, value: "{{ ternary "[$(POD_IP)]" "$(POD_IP)" .Values.ipv6 }}:8092"}
{{- end -}}

{{- define "parley.gateway.volumes" -}}{{- end -}}
{{- define "parley.gateway.mounts" -}}{{- end -}}

{{/* Every address of the pod. */}}
{{- define "parley.any" -}}{{ ternary "[::]" "0.0.0.0" .Values.ipv6 }}{{- end -}}
