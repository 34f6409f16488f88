{{- define "parley.trial.parts" -}}
postgres:
  image: {{ .Values.trial.postgresImage }}
  port: 5432
  args: [-c, max_connections=300]
  password: POSTGRES_PASSWORD
  folder: /var/lib/postgresql
  scratch: [/var/run/postgresql, /tmp]
  environment:
    - {name: POSTGRES_USER, value: parley}
nats:
  image: {{ .Values.trial.natsImage }}
  port: 4222
  args: [--addr=0.0.0.0, --user=parley, --pass=$(PASSWORD)]
  password: PASSWORD
redis:
  image: {{ .Values.trial.redisImage }}
  port: 6379
  args: [valkey-server, --save, "", --appendonly, "no", --maxmemory, 100mb, --maxmemory-policy, noeviction, --requirepass, $(PASSWORD)]
  password: PASSWORD
{{- end -}}

{{/* The template of a part's pod. Takes root, component, name, part. */}}
{{- define "parley.trial.pod" -}}
metadata:
  labels:
    {{- include "parley.selector" . | nindent 4 }}
spec:
  automountServiceAccountToken: false
  enableServiceLinks: false
  securityContext:
    {{- include "parley.security.pod" .root.Values.pods | nindent 4 }}
  containers:
    - name: {{ .component }}
      image: {{ .part.image }}
      imagePullPolicy: {{ .root.Values.image.pullPolicy }}
      args:
        {{- toYaml .part.args | nindent 8 }}
      env:
        - name: {{ .part.password }}
          valueFrom: {secretKeyRef: {name: {{ include "parley.fullname" .root }}-trial, key: password}}
        {{- with .part.environment }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      ports:
        - {name: {{ .component }}, containerPort: {{ .part.port }}, protocol: TCP}
      readinessProbe:
        tcpSocket: {port: {{ .component }}}
        periodSeconds: 3
      livenessProbe:
        tcpSocket: {port: {{ .component }}}
        periodSeconds: 10
        failureThreshold: 6
      resources:
        requests: {cpu: 100m, memory: 128Mi}
        limits: {memory: 1Gi}
      securityContext:
        {{- include "parley.security.container" . | nindent 8 }}
      {{- if or .part.folder .part.scratch }}
      volumeMounts:
        {{- with .part.folder }}
        - {name: data, mountPath: {{ . }}}
        {{- end }}
        {{- range $index, $path := .part.scratch }}
        - {name: scratch-{{ $index }}, mountPath: {{ $path }}}
        {{- end }}
      {{- end }}
  {{- $kept := gt (int .root.Values.trial.storageGiB) 0 }}
  {{- if or .part.scratch (and .part.folder (not $kept)) }}
  volumes:
    {{- if and .part.folder (not $kept) }}
    - {name: data, emptyDir: {}}
    {{- end }}
    {{- range $index, $path := .part.scratch }}
    - {name: scratch-{{ $index }}, emptyDir: {}}
    {{- end }}
  {{- end }}
{{- end -}}
