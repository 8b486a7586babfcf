{{/* Probes of one role: {root, role, values}. By gRPC's own health protocol; the kubelet speaks that in plain text only,
     so that a listener with TLS is asked over HTTP, on the port of the metrics, where the same is answered.
     Alive is a process whose loop answers at all: no store that is away, and no shard that is elsewhere, restarts it. */}}
{{- define "perdure.probes" -}}
{{- $hasTls := include "perdure.hasTls" . -}}
startupProbe:
  {{- include "perdure.alive" (dict "root" .root "role" .role "hasTls" $hasTls) | nindent 2 }}
  periodSeconds: 2
  timeoutSeconds: 5
  failureThreshold: {{ div .values.startupSeconds 2 }}
livenessProbe:
  {{- include "perdure.alive" (dict "root" .root "role" .role "hasTls" $hasTls) | nindent 2 }}
  periodSeconds: 10
  timeoutSeconds: 10
  failureThreshold: 6
readinessProbe:
  {{- if $hasTls }}
  httpGet:
    port: metrics
    path: /ready
  {{- else }}
  grpc:
    port: {{ include "perdure.port" .role }}
    service: {{ get (dict "frontend" "temporal.api.workflowservice.v1.WorkflowService" "history" "perdure.History" "matching" "perdure.Matching") .role }}
  {{- end }}
  periodSeconds: 2
  timeoutSeconds: 5
  failureThreshold: 2
{{- end -}}

{{- define "perdure.alive" -}}
httpGet:
  port: metrics
  path: /live
{{- end -}}
