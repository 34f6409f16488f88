{{/* `pods` as one workload has it: its own before what all have in common. Takes root and values (the workload's). */}}
{{- define "parley.pods" -}}
{{- mergeOverwrite (deepCopy .root.Values.pods) (deepCopy (default (dict) .values.pods)) | toYaml -}}
{{- end -}}

{{/* Volumes and mounts that `pods` asks for. Takes pods. */}}
{{- define "parley.pods.volumes" -}}
{{- with .certificates }}
- name: certificates
  secret: {secretName: {{ . }}, defaultMode: 0440}
{{- end }}
{{- with .extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "parley.pods.mounts" -}}
{{- if .certificates }}
- {name: certificates, mountPath: /certificates, readOnly: true}
{{- end }}
{{- with .extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* What the restricted Pod Security Standard wants of a pod, and of a container. Takes user. */}}
{{- define "parley.security.pod" -}}
runAsNonRoot: true
runAsUser: {{ .user }}
runAsGroup: {{ .user }}
fsGroup: {{ .user }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "parley.security.container" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* Settings of a workload: its own before the common ones, of which it has those that its program knows. Takes root and name. */}}
{{- define "parley.settings" -}}
{{- $known := index (.root.Files.Get "files/settings.json" | fromJson) .name -}}
{{- $settings := deepCopy (index .root.Values .name).settings -}}
{{- range $setting, $value := .root.Values.settings -}}
{{- if and (has $setting $known) (not (hasKey $settings $setting)) -}}
{{- $_ := set $settings $setting $value -}}
{{- end -}}
{{- end -}}
{{- toYaml $settings -}}
{{- end -}}

{{/* Settings as variables: the common ones, then the workload's, then what stands in its template. Takes root, name, values. */}}
{{- define "parley.environment" -}}
- name: PARLEY_POD
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
{{- with .workload.ports.http }}
- {name: PARLEY_LISTEN, value: "{{ include "parley.any" $.root }}:{{ . }}"}
{{- end }}
- {name: PARLEY_ADMIN_LISTEN, value: "{{ include "parley.any" .root }}:{{ .workload.ports.admin }}"}
- {name: PARLEY_LINGER_SECONDS, value: {{ (include "parley.pods" . | fromYaml).lingerSeconds | quote }}}
- {name: PARLEY_SHUTDOWN_SECONDS, value: {{ include (printf "parley.%s.shutdownSeconds" .name) .root | quote }}}
{{- $settings := include "parley.settings" . | fromYaml }}
{{- if not (hasKey $settings "WORKERS") }}
- name: PARLEY_WORKERS
  valueFrom: {resourceFieldRef: {containerName: {{ .name }}, resource: requests.cpu}}
{{- end }}
{{- include (printf "parley.%s.environment" .name) .root | trim | nindent 0 }}
{{- include "parley.credentials.environment" (dict "root" .root "workload" .name) }}
{{- range $setting, $value := $settings }}
- {name: PARLEY_{{ $setting }}, value: {{ ternary (int64 $value) $value (kindIs "float64" $value) | toString | quote }}}
{{- end }}
{{- with .values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The template of a workload's pods. Takes root, name, workload, values. */}}
{{- define "parley.pod" -}}
{{- $pods := include "parley.pods" . | fromYaml -}}
metadata:
  # Not the chart's version: a new chart restarts no pod whose spec is the same.
  labels:
    {{- include "parley.selector" (dict "root" .root "component" .name) | nindent 4 }}
    {{- with .root.Values.commonLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    {{- with $pods.labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    kubectl.kubernetes.io/default-container: {{ .name }}
    {{- if eq .root.Values.credentials.source "values" }}
    {{- $names := include "parley.credentials.brought" (dict "root" .root "workload" .name) | trim | splitList " " }}
    # A pod reads its credentials once: other ones make other pods.
    parley/credentials: {{ include "parley.credentials.data" (dict "root" .root "names" $names) | sha256sum }}
    {{- end }}
    {{- with merge (dict) $pods.annotations .root.Values.commonAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "parley.fullname" .root }}-{{ .name }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ add $pods.preStopSeconds (include (printf "parley.%s.shutdownSeconds" .name) .root) 5 }}
  securityContext:
    {{- include "parley.security.pod" $pods | nindent 4 }}
  {{- with .root.Values.image.pullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . }}
    {{- end }}
  {{- end }}
  {{- include "parley.placement" (dict "root" .root "component" .name "pods" $pods) | trim | nindent 2 }}
  {{- if and .workload.migrates (eq .root.Values.migrations.mode "init") }}
  initContainers:
    - {{ include "parley.migrate.container" (dict "root" .root "hook" false) | nindent 6 | trim }}
  {{- end }}
  containers:
    - name: {{ .name }}
      image: {{ include "parley.image" .root }}
      imagePullPolicy: {{ .root.Values.image.pullPolicy }}
      command: [/usr/local/bin/{{ .workload.program }}]
      env:
        {{- include "parley.environment" . | nindent 8 }}
      ports:
        {{- range $port, $number := .workload.ports }}
        - {name: {{ $port }}, containerPort: {{ $number }}, protocol: TCP}
        {{- end }}
      {{- include "parley.probes" . | nindent 6 }}
      lifecycle:
        preStop:
          exec: {command: [/usr/local/bin/sleep, {{ $pods.preStopSeconds | quote }}]}
      resources:
        {{- toYaml .values.resources | nindent 8 }}
      securityContext:
        {{- include "parley.security.container" . | nindent 8 }}
      {{- $mounts := concat (include (printf "parley.%s.mounts" .name) .root | fromYamlArray) (include "parley.pods.mounts" $pods | fromYamlArray) }}
      {{- with $mounts }}
      volumeMounts:
        {{- toYaml . | nindent 8 }}
      {{- end }}
  {{- $volumes := concat (include (printf "parley.%s.volumes" .name) .root | fromYamlArray) (include "parley.pods.volumes" $pods | fromYamlArray) }}
  {{- with $volumes }}
  volumes:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* Alive is who answers at all; ready is who has what it needs. A dependency that is away restarts nobody. */}}
{{- define "parley.probes" -}}
startupProbe:
  httpGet: {path: /livez, port: admin}
  periodSeconds: 2
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /livez, port: admin}
  periodSeconds: 10
  timeoutSeconds: 3
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /readyz, port: admin}
  periodSeconds: 3
  timeoutSeconds: 2
  # One slow answer takes nobody out: the others would be slower still.
  failureThreshold: 2
{{- end -}}

{{/* Where pods run: spread over zones and nodes, release by release. Takes root, component, pods. */}}
{{- define "parley.placement" -}}
{{- with .pods.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .pods.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .pods.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .pods.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
topologySpreadConstraints:
  {{- range $key, $when := dict "topology.kubernetes.io/zone" .pods.spread.zones "kubernetes.io/hostname" .pods.spread.nodes }}
  - topologyKey: {{ $key }}
    maxSkew: 1
    whenUnsatisfiable: {{ $when }}
    matchLabelKeys: [pod-template-hash]
    labelSelector:
      matchLabels:
        {{- include "parley.selector" $ | nindent 8 }}
  {{- end }}
{{- end -}}
