{{- define "traefik.pod" -}}
{{- $d := default dict .Values.deployment -}}
{{- $persistence := default dict .Values.persistence -}}
{{- $plugins := (.Values.experimental).plugins -}}
metadata:
  labels:
    {{- include "traefik.labels" . | nindent 4 }}
    {{- with $d.podLabels }}
    {{- tpl (toYaml .) $ | nindent 4 }}
    {{- end }}
  {{- with merge (deepCopy (default dict $d.podAnnotations)) (default dict .Values.podAnnotations) }}
  annotations:
    {{- tpl (toYaml .) $ | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ include "traefik.account" . }}
  automountServiceAccountToken: true
  terminationGracePeriodSeconds: {{ default 60 $d.terminationGracePeriodSeconds }}
  hostNetwork: {{ default false .Values.hostNetwork }}
  {{- if or $d.dnsPolicy .Values.hostNetwork }}
  dnsPolicy: {{ default "ClusterFirstWithHostNet" $d.dnsPolicy }}
  {{- end }}
  {{- range $key := list "dnsConfig" "hostAliases" "imagePullSecrets" "initContainers" "runtimeClassName" "shareProcessNamespace" }}
  {{- with index $d $key }}
  {{ $key }}: {{ toYaml . | nindent 4 }}
  {{- end }}
  {{- end }}
  {{- if kindIs "bool" $d.hostUsers }}
  hostUsers: {{ $d.hostUsers }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with .Values.podSecurityContext }}
  securityContext:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- tpl (toYaml .) $ | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- tpl (toYaml .) $ | nindent 4 }}
  {{- end }}
  {{- with .Values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- tpl (toYaml .) $ | nindent 4 }}
  {{- end }}
  containers:
    - name: {{ include "traefik.fullname" . }}
      image: {{ include "traefik.image" . | quote }}
      imagePullPolicy: {{ default "IfNotPresent" (.Values.image).pullPolicy }}
      args:
        {{- include "traefik.arguments" . | trim | nindent 8 }}
      env:
        - name: POD_NAME
          valueFrom:
            fieldRef:
              fieldPath: metadata.name
        - name: POD_NAMESPACE
          valueFrom:
            fieldRef:
              fieldPath: metadata.namespace
        {{- $limit := ((.Values.resources).limits).memory }}
        {{- with $d.goMemLimitPercentage }}
        {{- if $limit }}
        {{- with include "traefik.memoryLimit" (dict "limit" $limit "share" .) }}
        - name: GOMEMLIMIT
          value: {{ . | quote }}
        {{- end }}
        {{- end }}
        {{- end }}
        {{- with mergeOverwrite (dict "timezone" "") (default dict (.Values.logs).access) (default dict .Values.accessLog) }}
        {{- if and .enabled .timezone }}
        - name: TZ
          value: {{ .timezone | quote }}
        {{- end }}
        {{- end }}
        {{- with .Values.env }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- with .Values.envFrom }}
      envFrom:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      ports:
        {{- range $name := keys (default dict .Values.ports) | sortAlpha }}
        {{- with index $.Values.ports $name }}
        - name: {{ include "traefik.portName" $name }}
          containerPort: {{ default .port .containerPort }}
          protocol: {{ default "TCP" .protocol | upper }}
          {{- with .hostPort }}
          hostPort: {{ . }}
          {{- end }}
          {{- with .hostIP }}
          hostIP: {{ . | quote }}
          {{- end }}
        {{- if (.http3).enabled }}
        - name: {{ printf "%s-http3" $name | include "traefik.portName" }}
          containerPort: {{ default .port .containerPort }}
          protocol: UDP
          {{- with .hostPort }}
          hostPort: {{ . }}
          {{- end }}
        {{- end }}
        {{- end }}
        {{- end }}
      {{- $health := default ((.Values.ports).traefik).port $d.healthchecksPort }}
      {{- range $probe, $path := dict "readinessProbe" $d.readinessPath "livenessProbe" $d.livenessPath }}
      {{ $probe }}:
        httpGet:
          path: {{ default "/ping" $path }}
          port: {{ $health }}
          scheme: {{ default "HTTP" $d.healthchecksScheme }}
          {{- with default (($.Values.ports).traefik).hostIP $d.healthchecksHost }}
          host: {{ . | quote }}
          {{- end }}
        {{- with index $.Values $probe }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- end }}
      {{- with .Values.startupProbe }}
      startupProbe:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $d.lifecycle }}
      lifecycle:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .Values.resources }}
      resources:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .Values.securityContext }}
      securityContext:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      volumeMounts:
        - name: {{ default "data" $persistence.name }}
          mountPath: {{ default "/data" $persistence.path }}
          {{- with $persistence.subPath }}
          subPath: {{ . }}
          {{- end }}
        - name: tmp
          mountPath: /tmp
        {{- if $plugins }}
        - name: plugins
          mountPath: /plugins-storage
        {{- end }}
        {{- if ((.Values.providers).file).enabled }}
        - name: file-provider
          mountPath: /etc/traefik/dynamic
        {{- end }}
        {{- range .Values.volumes }}
        - name: {{ tpl .name $ | replace "." "-" }}
          mountPath: {{ .mountPath }}
          readOnly: true
        {{- end }}
        {{- with .Values.additionalVolumeMounts }}
        {{- tpl (toYaml .) $ | nindent 8 }}
        {{- end }}
    {{- with $d.additionalContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  volumes:
    - name: {{ default "data" $persistence.name }}
      {{- if $persistence.enabled }}
      persistentVolumeClaim:
        claimName: {{ default (include "traefik.fullname" .) $persistence.existingClaim }}
      {{- else }}
      emptyDir: {}
      {{- end }}
    - name: tmp
      emptyDir: {}
    {{- if $plugins }}
    - name: plugins
      emptyDir: {}
    {{- end }}
    {{- if ((.Values.providers).file).enabled }}
    - name: file-provider
      configMap:
        name: {{ include "traefik.fullname" . }}-file-provider
    {{- end }}
    {{- range .Values.volumes }}
    - name: {{ tpl .name $ | replace "." "-" }}
      {{- if eq .type "secret" }}
      secret:
        secretName: {{ tpl .name $ }}
      {{- else if eq .type "configMap" }}
      configMap:
        name: {{ tpl .name $ }}
      {{- else }}
      {{- fail (printf "volumes: %s has the type %v, expected secret or configMap; for others use deployment.additionalVolumes and additionalVolumeMounts" .name .type) }}
      {{- end }}
    {{- end }}
    {{- with $d.additionalVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}
