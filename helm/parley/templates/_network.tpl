{{/* A rule of egress or ingress. Takes peers (anybody if empty), direction (`to` or `from`) and ports. */}}
{{- define "parley.network.rule" -}}
- ports:
    {{- range .ports }}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
  {{- with .peers }}
  {{ $.direction }}:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{- define "parley.network.dns" -}}
- ports:
    - {port: 53, protocol: UDP}
    - {port: 53, protocol: TCP}
  {{- with .Values.networkPolicy.dns }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* Pods of one component, as a peer. Takes root and component. */}}
{{- define "parley.network.pods" -}}
- podSelector:
    matchLabels:
      {{- include "parley.selector" . | nindent 6 }}
{{- end -}}

{{/* Egress to what a workload talks to: a part of the trial, or what `networkPolicy` says of it. Takes root and reaches. */}}
{{- define "parley.network.egress" -}}
{{- include "parley.network.dns" .root }}
{{- range .reaches }}
{{- $reached := index $.root.Values.networkPolicy . }}
{{- $peers := $reached.to }}
{{- if and $.root.Values.trial.enabled (has . (list "postgres" "nats" "redis")) }}
{{- $peers = include "parley.network.pods" (dict "root" $.root "component" .) | fromYamlArray }}
{{- end }}
{{ include "parley.network.rule" (dict "peers" $peers "direction" "to" "ports" $reached.ports) }}
{{- end }}
{{- end -}}
