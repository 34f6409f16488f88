{{/* The spec of a HorizontalPodAutoscaler. Of several metrics the one that wants most pods counts; one that nobody serves takes no
pods away, and CPU goes on to add some. Takes target and values. */}}
{{- define "parley.autoscaling" -}}
scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: {{ .target }}}
minReplicas: {{ .values.minReplicas }}
maxReplicas: {{ .values.maxReplicas }}
metrics:
  - type: Resource
    resource:
      name: cpu
      target: {type: Utilization, averageUtilization: {{ .values.cpu }}}
  {{- with .values.connections }}
  - type: Pods
    pods:
      metric: {name: parley_gateway_connections}
      target: {type: AverageValue, averageValue: {{ . | int | quote }}}
  {{- end }}
  {{- with .values.metrics }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
behavior:
  scaleUp:
    stabilizationWindowSeconds: 0
    policies:
      - {type: Percent, value: 100, periodSeconds: 60}
      - {type: Pods, value: 2, periodSeconds: 60}
  # One at a time: what a pod held comes to the others.
  scaleDown:
    stabilizationWindowSeconds: {{ .values.scaleDownSeconds }}
    policies:
      - {type: Pods, value: 1, periodSeconds: 120}
{{- end -}}
