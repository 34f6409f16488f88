{{/* The container that migrates. Several may run at once: an advisory lock makes all but one wait. Takes root and hook. */}}
{{- define "parley.migrate.container" -}}
name: migrate
image: {{ include "parley.image" .root }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
command: [/usr/local/bin/parley-api, migrate]
env:
  - name: PARLEY_POD
    valueFrom: {fieldRef: {fieldPath: metadata.name}}
  {{- include "parley.credentials.environment" (dict "root" .root "workload" "migrate" "hook" .hook) | trim | nindent 2 }}
resources:
  {{- toYaml .root.Values.migrations.resources | nindent 2 }}
securityContext:
  {{- include "parley.security.container" . | nindent 2 }}
{{- with include "parley.pods.mounts" .root.Values.pods | trim }}
volumeMounts:
  {{- . | nindent 2 }}
{{- end }}
{{- end -}}
