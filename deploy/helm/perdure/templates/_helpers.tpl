{{- define "perdure.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* Room is left for "-matching-headless" within a name's 63. */}}
{{- define "perdure.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* What tells the pods of one part: {root, component}. These never change in the life of a release. */}}
{{- define "perdure.selector" -}}
app.kubernetes.io/name: {{ include "perdure.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end -}}

{{- define "perdure.labels" -}}
{{ include "perdure.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: {{ include "perdure.name" .root }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "perdure.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "perdure.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "perdure.image" -}}
{{- $image := .Values.server.image -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ default .Chart.AppVersion $image.tag }}
{{- end -}}
{{- end -}}

{{- define "perdure.port" -}}
{{- get (dict "frontend" 7233 "history" 7234 "matching" 7235) . -}}
{{- end -}}

{{/* `base` with `over` in its place, as YAML: keys with values are merged, the rest is replaced. sprig's own merge takes
     a false, a zero and an empty list for absent. */}}
{{- define "perdure.over" -}}
{{- $out := deepCopy .base -}}
{{- range $key, $value := .over -}}
{{- $former := get $out $key -}}
{{- if and (kindIs "map" $value) (kindIs "map" $former) -}}
{{- $_ := set $out $key (include "perdure.over" (dict "base" $former "over" $value) | fromYaml) -}}
{{- else if not (kindIs "invalid" $value) -}}
{{- $_ := set $out $key $value -}}
{{- end -}}
{{- end -}}
{{- toYaml $out -}}
{{- end -}}

{{/* The values of one role: {root, role}. */}}
{{- define "perdure.role" -}}
{{- $all := omit .root.Values.server "frontend" "history" "matching" "metrics" "config" "dynamicConfig" "image" -}}
{{- include "perdure.over" (dict "base" $all "over" (get .root.Values.server .role)) -}}
{{- end -}}

{{/* Whether the listener of a role speaks TLS: {root, role}. Empty: no. */}}
{{- define "perdure.hasTls" -}}
{{- $tls := .root.Values.server.config.tls | default dict -}}
{{- if hasKey $tls (ternary "frontend" "internode" (eq .role "frontend")) }}yes{{ end -}}
{{- end -}}

{{/* Pods of all roles, and no others: {root}. */}}
{{- define "perdure.roles" -}}
matchLabels:
  {{- include "perdure.selector" . | nindent 2 }}
matchExpressions:
  - key: app.kubernetes.io/component
    operator: In
    values: [frontend, history, matching]
{{- end -}}
