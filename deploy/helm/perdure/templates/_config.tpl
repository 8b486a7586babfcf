{{/* Where what is mounted is. A directory each, never a single file of one: only so do changes reach a running pod. */}}
{{- define "perdure.secretPath" -}}
/etc/perdure/secrets/{{ . }}
{{- end -}}

{{/* Secrets that the configuration names, as a list {name, secret, items}: what is mounted is no more than what is used. */}}
{{- define "perdure.secrets" -}}
{{- $config := .Values.server.config -}}
{{- $found := list -}}
{{- with $config.store.cassandra -}}
{{- with .existingSecret -}}
{{- $found = append $found (dict "name" "store" "secret" . "items" (list (default "password" $config.store.cassandra.secretKey))) -}}
{{- end -}}
{{- with .tls -}}{{- with .existingSecret -}}
{{- $items := ternary (list "ca.crt" "tls.crt" "tls.key") (list "ca.crt") (default false $config.store.cassandra.tls.clientCertificate) -}}
{{- $found = append $found (dict "name" "store-tls" "secret" . "items" $items) -}}
{{- end -}}{{- end -}}
{{- end -}}
{{- with $config.tls -}}
{{- with .frontend -}}{{- if .existingSecret -}}
{{- $items := ternary (list "ca.crt" "tls.crt" "tls.key") (list "tls.crt" "tls.key") (default false .clientAuthority) -}}
{{- $found = append $found (dict "name" "frontend-tls" "secret" .existingSecret "items" $items) -}}
{{- end -}}{{- end -}}
{{- with .internode -}}{{- if .existingSecret -}}
{{- $found = append $found (dict "name" "internode-tls" "secret" .existingSecret "items" (list "ca.crt" "tls.crt" "tls.key")) -}}
{{- end -}}{{- end -}}
{{- end -}}
{{- with $config.auth -}}{{- if .existingSecret -}}
{{- $found = append $found (dict "name" "auth" "secret" .existingSecret "items" (list (default "jwks.json" .secretKey))) -}}
{{- end -}}{{- end -}}
{{- dict "secrets" $found | toYaml -}}
{{- end -}}

{{/* The program's configuration: what the values say, without the chart's own keys, and with what the chart decides. */}}
{{- define "perdure.config" -}}
{{- $given := deepCopy .Values.server.config -}}
{{- if not $given.store -}}
{{- fail "server.config.store is missing: where the data is, as in server.config.store.cassandra.contact_points" -}}
{{- end -}}
{{- if $given.store.sqlite -}}
{{- fail "server.config.store.sqlite: a store in one file is for one process; the roles of a cluster need cassandra" -}}
{{- end -}}
{{- if or (hasKey $given "dynamic") (hasKey $given "roles") -}}
{{- fail "server.config: dynamic values are in server.dynamicConfig, and roles are the chart's" -}}
{{- end -}}
{{- with $given.store.cassandra -}}
{{- if .existingSecret -}}
{{- $_ := set . "password_file" (printf "%s/%s" (include "perdure.secretPath" "store") (default "password" .secretKey)) -}}
{{- end -}}
{{- with .tls -}}
{{- if .existingSecret -}}
{{- $path := include "perdure.secretPath" "store-tls" -}}
{{- $_ := set . "ca" (printf "%s/ca.crt" $path) -}}
{{- if .clientCertificate -}}
{{- $_ := set . "cert" (printf "%s/tls.crt" $path) -}}
{{- $_ := set . "key" (printf "%s/tls.key" $path) -}}
{{- end -}}
{{- end -}}
{{- $_ := unset . "existingSecret" -}}{{- $_ := unset . "clientCertificate" -}}
{{- end -}}
{{- $_ := unset . "existingSecret" -}}{{- $_ := unset . "secretKey" -}}
{{- end -}}
{{- with $given.tls -}}
{{- with .frontend -}}
{{- if .existingSecret -}}
{{- $path := include "perdure.secretPath" "frontend-tls" -}}
{{- $_ := set . "certificate" (printf "%s/tls.crt" $path) -}}
{{- $_ := set . "key" (printf "%s/tls.key" $path) -}}
{{- if .clientAuthority -}}{{- $_ := set . "client_authority" (printf "%s/ca.crt" $path) -}}{{- end -}}
{{- end -}}
{{- $_ := unset . "existingSecret" -}}{{- $_ := unset . "clientAuthority" -}}
{{- end -}}
{{- with .internode -}}
{{- if .existingSecret -}}
{{- $path := include "perdure.secretPath" "internode-tls" -}}
{{- $_ := set . "certificate" (printf "%s/tls.crt" $path) -}}
{{- $_ := set . "key" (printf "%s/tls.key" $path) -}}
{{- $_ := set . "authority" (printf "%s/ca.crt" $path) -}}
{{- end -}}
{{- $_ := unset . "existingSecret" -}}
{{- end -}}
{{- end -}}
{{- with $given.auth -}}
{{- if .existingSecret -}}
{{- $_ := set . "keys" (printf "%s/%s" (include "perdure.secretPath" "auth") (default "jwks.json" .secretKey)) -}}
{{- end -}}
{{- $_ := unset . "existingSecret" -}}{{- $_ := unset . "secretKey" -}}
{{- end -}}
{{- $chart := dict
  "frontend" (dict "listen" "0.0.0.0" "port" 7233)
  "history" (dict "listen" "0.0.0.0" "port" 7234)
  "matching" (dict "listen" "0.0.0.0" "port" 7235)
  "metrics" (dict "listen" "0.0.0.0" "port" .Values.server.metrics.port)
  "dynamic" (dict "file" "/etc/perdure/dynamic/dynamic.yaml") -}}
{{- include "perdure.over" (dict "base" $given "over" $chart) -}}
{{- end -}}
