{{/*
One line "- --PATH=VALUE" for every setting below .value. Maps descend; a map with "enabled" is the
flag PATH=true and what else is in it, or nothing when that is false; a list is joined with
commas, a list of maps numbered. Null and empty text mean: as Traefik has it. An empty map is
nothing, or PATH=true with .bare, which is how a resolver's tlsChallenge is turned on.
*/}}
{{- define "traefik.flags" -}}
{{- $path := .path -}}
{{- $bare := .bare -}}
{{- $v := .value -}}
{{- if kindIs "map" $v -}}
  {{- if or (not (hasKey $v "enabled")) $v.enabled -}}
    {{- if or $v.enabled (and $bare (empty $v)) }}
- {{ printf "--%s=true" $path | quote }}
    {{- end -}}
    {{- range $key := omit $v "enabled" | keys | sortAlpha -}}
      {{- include "traefik.flags" (dict "path" (printf "%s.%s" $path $key) "value" (index $v $key) "bare" $bare) -}}
    {{- end -}}
  {{- end -}}
{{- else if kindIs "slice" $v -}}
  {{- if $v -}}
    {{- if kindIs "map" (first $v) -}}
      {{- range $i, $e := $v -}}
        {{- include "traefik.flags" (dict "path" (printf "%s[%d]" $path $i) "value" $e "bare" $bare) -}}
      {{- end -}}
    {{- else -}}
      {{- $texts := list -}}
      {{- range $v -}}{{- $texts = append $texts (include "traefik.text" .) -}}{{- end }}
- {{ printf "--%s=%s" $path (join "," $texts) | quote }}
    {{- end -}}
  {{- end -}}
{{- else if not (or (kindIs "invalid" $v) (eq (toString $v) "")) }}
- {{ printf "--%s=%s" $path (include "traefik.text" $v) | quote }}
{{- end -}}
{{- end -}}

{{/* A scalar; whole numbers without an exponent, which YAML's floats get from 1000000 on. */}}
{{- define "traefik.text" -}}
{{- if and (kindIs "float64" .) (eq (. | int64 | float64) .) -}}{{ int64 . }}{{- else -}}{{ . }}{{- end -}}
{{- end -}}

{{/* Flags of the entry point .name with the values .port. */}}
{{- define "traefik.entryPoint" -}}
{{- $p := .port -}}
{{- $path := printf "entryPoints.%s" .name -}}
{{- $host := default "" $p.hostIP -}}
{{- if contains ":" $host -}}{{- $host = printf "[%s]" $host -}}{{- end }}
- {{ printf "--%s.address=%s:%s/%s" $path $host (include "traefik.text" $p.port) (default "tcp" $p.protocol | lower) | quote }}
{{- $http := deepCopy (default dict $p.http) -}}
{{/* Names of older charts, which k3s has packaged too: tls, middlewares, redirections and redirectTo beside port. */}}
{{- if $p.tls -}}{{- $_ := set $http "tls" (mergeOverwrite (deepCopy (default dict $http.tls)) $p.tls) -}}{{- end -}}
{{- if $p.middlewares -}}{{- $_ := set $http "middlewares" $p.middlewares -}}{{- end -}}
{{- $to := deepCopy (default dict (default $p.redirections $http.redirections).entryPoint) -}}
{{- with $p.redirectTo -}}
  {{- if kindIs "map" . -}}
    {{- $to = merge (omit . "port") (dict "to" .port "scheme" "https") -}}
  {{- else -}}
    {{- $to = dict "to" . "scheme" "https" -}}
  {{- end -}}
{{- end -}}
{{- if $to.to -}}
  {{- $target := index (default dict .root.Values.ports) (toString $to.to) -}}
  {{- if not $target -}}
    {{- fail (printf "ports.%s redirects to %v: there is no such port below ports" .name $to.to) -}}
  {{- end -}}
  {{- $_ := set $to "to" (printf ":%s" (include "traefik.text" (default $target.port $target.exposedPort))) -}}
  {{- include "traefik.flags" (dict "path" (printf "%s.http.redirections.entryPoint" $path) "value" $to) -}}
{{- end -}}
{{- include "traefik.flags" (dict "path" (printf "%s.http" $path) "value" (omit $http "redirections")) -}}
{{- $own := list "appProtocol" "containerPort" "expose" "exposedPort" "hostIP" "hostPort" "http" "middlewares" "nodePort" "port" "protocol" "redirectTo" "redirections" "targetPort" "tls" "uplink" -}}
{{- range $key := keys $p | sortAlpha -}}
  {{- if not (has $key $own) -}}
    {{- include "traefik.flags" (dict "path" (printf "%s.%s" $path $key) "value" (index $p $key)) -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{/* Flags of the providers. */}}
{{- define "traefik.providers" -}}
{{- $root := . -}}
{{- range $name := keys (default dict .Values.providers) | sortAlpha -}}
  {{- $p := default dict (index $root.Values.providers $name) -}}
  {{- $isNginx := eq (lower $name) "kubernetesingressnginx" -}}
  {{- $rest := omit $p "publishedService" "publishService" "disableIngressClassLookup" "namespaces" "content" -}}
  {{- if and $p.enabled (not (has $name (list "kubernetesGateway" "knative"))) -}}
    {{- if eq $name "file" -}}
      {{- $rest = merge $rest (dict "directory" "/etc/traefik/dynamic") -}}
    {{- end -}}
    {{- $published := default (default dict $p.publishService) $p.publishedService -}}
    {{- if and $published.enabled (or ($root.Values.service).enabled $published.pathOverride) -}}
      {{- $service := include "traefik.published" (dict "root" $root "override" $published.pathOverride) -}}
      {{- if $isNginx -}}
        {{- $rest = merge $rest (dict "publishService" $service) -}}
      {{- else -}}
        {{- $rest = merge $rest (dict "ingressEndpoint" (dict "publishedService" $service)) -}}
      {{- end -}}
    {{- end -}}
    {{- if hasPrefix "kubernetes" $name -}}
      {{- $namespaces := default list $p.namespaces -}}
      {{- if ($root.Values.rbac).namespaced -}}
        {{- $namespaces = prepend $namespaces (include "traefik.namespace" $root) | uniq -}}
        {{- if not $isNginx -}}{{- $rest = merge $rest (dict "disableClusterScopeResources" true) -}}{{- end -}}
      {{- end -}}
      {{- if $namespaces -}}
        {{- $rest = merge $rest (dict (ternary "watchNamespace" "namespaces" $isNginx) $namespaces) -}}
      {{- end -}}
    {{- end -}}
    {{- include "traefik.flags" (dict "path" (printf "providers.%s" $name) "value" $rest) -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{/* Flags of the access log, whose fields have one level more in k3s's chart than in Traefik. */}}
{{- define "traefik.accessLog" -}}
{{- $log := mergeOverwrite (deepCopy (default dict (.Values.logs).access)) (default dict .Values.accessLog) -}}
{{- if $log.enabled -}}
  {{- $fields := deepCopy (default dict $log.fields) -}}
  {{- $fields = merge (omit $fields "general") (default dict $fields.general) -}}
  {{- if $log.timezone -}}{{- $fields = merge $fields (dict "names" (dict "StartUTC" "drop")) -}}{{- end -}}
  {{- $log = merge (dict "fields" $fields) (omit $log "fields" "timezone") -}}
  {{- include "traefik.flags" (dict "path" "accesslog" "value" $log) -}}
{{- end -}}
{{- end -}}

{{/* All flags of Traefik, in an order that changes only with the values. */}}
{{- define "traefik.arguments" -}}
{{- $root := . -}}
{{- range .Values.globalArguments }}
- {{ . | quote }}
{{- end -}}
{{- include "traefik.flags" (dict "path" "global" "value" (omit (default dict .Values.global) "systemDefaultRegistry" "azure")) -}}
{{- range $name := keys (default dict .Values.ports) | sortAlpha -}}
  {{- with index $root.Values.ports $name -}}
    {{- include "traefik.entryPoint" (dict "root" $root "name" $name "port" .) -}}
  {{- end -}}
{{- end }}
- "--ping=true"
{{- if or (include "traefik.wantsDashboard" .) (.Values.api).insecure (.Values.api).debug -}}
  {{- $api := merge (dict "dashboard" (eq (include "traefik.wantsDashboard" .) "true")) (default dict .Values.api) -}}
  {{- include "traefik.flags" (dict "path" "api" "value" $api) -}}
{{- end -}}
{{- with .Values.metrics -}}
  {{- $m := omit . "prometheus" -}}
  {{- with .prometheus -}}
    {{- $own := omit . "service" "serviceMonitor" "prometheusRule" "disableAPICheck" -}}
    {{- include "traefik.flags" (dict "path" "metrics.prometheus" "value" (merge (dict "enabled" true) $own)) -}}
  {{- end -}}
  {{- range $key := list "datadog" "influxdb2" "statsd" -}}
    {{- with index $m $key -}}{{- $m = set (omit $m $key) $key (merge (dict "enabled" true) .) -}}{{- end -}}
  {{- end -}}
  {{- include "traefik.flags" (dict "path" "metrics" "value" $m) -}}
{{- end -}}
{{- if ((.Values.tracing).otlp).enabled -}}
  {{- include "traefik.flags" (dict "path" "tracing" "value" .Values.tracing) -}}
{{- end -}}
{{- include "traefik.providers" . -}}
{{- $log := mergeOverwrite (deepCopy (default dict (.Values.logs).general)) (default dict .Values.log) -}}
{{- with $log.level -}}{{- $_ := set $log "level" (upper .) -}}{{- end -}}
{{- include "traefik.flags" (dict "path" "log" "value" $log) -}}
{{- include "traefik.accessLog" . -}}
{{- include "traefik.flags" (dict "path" "core" "value" (default dict .Values.core)) -}}
{{- include "traefik.flags" (dict "path" "ocsp" "value" (default dict .Values.ocsp)) -}}
{{- include "traefik.flags" (dict "path" "experimental" "value" (omit (default dict .Values.experimental) "kubernetesGateway" "knative" "localPlugins")) -}}
{{- with .Values.certificatesResolvers -}}
  {{- include "traefik.flags" (dict "path" "certificatesresolvers" "value" . "bare" true) -}}
{{- end -}}
{{- range .Values.additionalArguments }}
- {{ . | quote }}
{{- end -}}
{{- end -}}
