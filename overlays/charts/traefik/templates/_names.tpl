{{/* Names and labels, as in Traefik's own chart: people select by them. */}}

{{- define "traefik.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "traefik.fullname" -}}
{{- $name := include "traefik.name" . -}}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- default $full .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "traefik.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "traefik.clusterName" -}}
{{- printf "%s-%s" (include "traefik.fullname" .) (include "traefik.namespace" .) | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "traefik.account" -}}
{{- default (include "traefik.fullname" .) (.Values.serviceAccount).name -}}
{{- end -}}

{{- define "traefik.selector" -}}
app.kubernetes.io/name: {{ include "traefik.name" . }}
app.kubernetes.io/instance: {{ default (printf "%s-%s" .Release.Name (include "traefik.namespace" .)) .Values.instanceLabelOverride | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{- define "traefik.labels" -}}
{{ include "traefik.selector" . }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* A port's name: RFC 6335, at most 15 characters, lower case, no "-" at an end. */}}
{{- define "traefik.portName" -}}
{{- . | lower | replace "_" "-" | trunc 15 | trimAll "-" -}}
{{- end -}}

{{/*
The image: the one that Keelson carries, until a value asks for another or for the dashboard.
*/}}
{{- define "traefik.image" -}}
{{- $i := .Values.image | default dict -}}
{{- if or $i.registry $i.repository $i.tag $i.digest (include "traefik.wantsDashboard" .) -}}
  {{- $registry := $i.registry -}}
  {{- $repository := $i.repository -}}
  {{- if not $repository -}}
    {{- $registry = default "docker.io" $registry -}}
    {{- $repository = ternary "library/traefik" "traefik" (eq $registry "docker.io") -}}
  {{- end -}}
  {{- with (.Values.global).systemDefaultRegistry -}}{{ . }}/{{- end -}}
  {{- with $registry -}}{{ . }}/{{- end -}}
  {{- $repository -}}
  {{- if $i.digest -}}@{{ $i.digest }}{{- else -}}:{{ default .Chart.AppVersion $i.tag }}{{- end -}}
{{- else -}}
keelson.dev/traefik:{{ trimPrefix "v" .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "traefik.wantsDashboard" -}}
{{- if or (.Values.api).dashboard (((.Values.ingressRoute).dashboard).enabled) -}}true{{- end -}}
{{- end -}}

{{/* NAMESPACE/NAME of the Service whose addresses an Ingress gets as its own. */}}
{{- define "traefik.published" -}}
{{- $default := printf "%s/%s" (include "traefik.namespace" .root) (include "traefik.serviceName" (dict "root" .root "name" "default")) -}}
{{- default $default .override -}}
{{- end -}}

{{- define "traefik.serviceName" -}}
{{- $full := include "traefik.fullname" .root -}}
{{- if eq .name "default" -}}
{{- default $full (.root.Values.service).nameOverride -}}
{{- else -}}
{{- printf "%s-%s" $full .name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* "true" if the port p is in the Service name. Older charts had a plain bool in expose. */}}
{{- define "traefik.exposed" -}}
{{- $e := .p.expose -}}
{{- if kindIs "map" $e -}}
{{- if index $e .name -}}true{{- end -}}
{{- else if and $e (eq .name "default") -}}true{{- end -}}
{{- end -}}

{{/*
GOMEMLIMIT from a memory limit and a share of it, in bytes; nothing if the limit is in a notation
that this does not read.
*/}}
{{- define "traefik.memoryLimit" -}}
{{- $text := toString .limit -}}
{{- if regexMatch "^[0-9]+(Ki|Mi|Gi|k|M|G)?$" $text -}}
{{- $unit := regexFind "[A-Za-z]+$" $text -}}
{{- $scale := get (dict "" 1 "k" 1000 "M" 1000000 "G" 1000000000 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824) $unit -}}
{{- mulf (regexFind "^[0-9]+" $text | float64) (float64 $scale) (float64 .share) | int64 -}}
{{- end -}}
{{- end -}}
