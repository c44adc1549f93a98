{{/*
The environment of a role beside its ConfigMap, as a list of EnvVar; "pod" is what its pods are like.
Each role adds DEMO_* variables of its own.
*/}}
{{- define "platform-http-demo.environment" -}}
{{- $root := .root -}}
- name: DEMO_HOST
  value: {{ $root.Values.listenAddress | quote }}
- name: DEMO_PORT
  value: {{ .port | quote }}
- name: DEMO_DRAIN_DELAY
  value: {{ toJson .pod.drainSeconds | quote }}
{{- if and (eq .role "caller") (include "platform-http-demo.hasSecret" $root) }}
- name: PLATFORM_HTTP_SECRETS_DIR
  value: /etc/platform-http/secrets
{{- end }}
{{- if ne .role "upstream" }}
{{- include "platform-http-demo.proxyEnvironment" $root }}
{{- end }}
{{- if $root.Values.otel.enabled }}
{{- include "platform-http-demo.otelEnvironment" . }}
{{- end }}
{{- end -}}

{{- define "platform-http-demo.proxyEnvironment" -}}
{{- $proxy := .Values.proxy -}}
{{- if or $proxy.httpProxy $proxy.httpsProxy }}
{{- range $name := list "httpProxy" "httpsProxy" }}
{{- /* Not by the schema, which would print the value. */}}
{{- if not (regexMatch "^(https?://([A-Za-z0-9.-]+|\\[[0-9A-Fa-f:.]+\\])(:[1-9][0-9]{0,4})?/?)?$" (get $proxy $name)) }}
{{- fail (printf "proxy.%s takes a URL such as http://proxy.example.com:3128; its login belongs into secrets, as PROXY__USERNAME and PROXY__PASSWORD" $name) }}
{{- end }}
{{- end }}
{{- with $proxy.httpProxy }}
- name: HTTP_PROXY
  value: {{ . | quote }}
{{- end }}
{{- with $proxy.httpsProxy }}
- name: HTTPS_PROXY
  value: {{ . | quote }}
{{- end }}
{{- $full := include "platform-http-demo.fullname" . }}
{{- $direct := list (printf "%s-upstream" $full) (printf "%s-caller" $full) }}
{{- with include "platform-http-demo.collectorWithin" . }}
{{- $direct = append $direct . }}
{{- end }}
- name: NO_PROXY
  value: {{ concat $proxy.noProxy $direct | uniq | join "," | quote }}
{{- end }}
{{- end -}}

{{/*
The host of a collector that no proxy may come between: one with a name of the cluster, or one that is asked without
TLS, because a proxy would then read spans and the token in OTEL_EXPORTER_OTLP_HEADERS. Nothing for another one.
*/}}
{{- define "platform-http-demo.collectorWithin" -}}
{{- if .Values.otel.enabled -}}
{{- $host := regexReplaceAll "^https?://(\\[[^]]*\\]|[^:/]*).*$" .Values.otel.endpoint "${1}" | trimPrefix "[" | trimSuffix "]" -}}
{{- if or (hasPrefix "http:" .Values.otel.endpoint) (not (contains "." $host)) (regexMatch "\\.(svc|svc\\..+|cluster\\.local)$" $host) -}}
{{- $host -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Kubernetes replaces $(NAME) by a variable that stands earlier in the list. */}}
{{- define "platform-http-demo.otelEnvironment" -}}
{{- $root := .root -}}
{{- $otel := $root.Values.otel }}
- name: POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: POD_UID
  valueFrom:
    fieldRef:
      fieldPath: metadata.uid
- name: POD_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
- name: NODE_NAME
  valueFrom:
    fieldRef:
      fieldPath: spec.nodeName
{{- /* The job that the ServiceMonitor gives to the same role. */}}
- name: OTEL_SERVICE_NAME
  value: {{ printf "%s-%s" $root.Release.Name .role | quote }}
{{- $attributes := list
  (printf "service.version=%s" $root.Chart.AppVersion)
  "service.instance.id=$(POD_NAME)"
  "k8s.pod.name=$(POD_NAME)"
  "k8s.pod.uid=$(POD_UID)"
  "k8s.namespace.name=$(POD_NAMESPACE)"
  "k8s.node.name=$(NODE_NAME)"
  (printf "k8s.deployment.name=%s-%s" (include "platform-http-demo.fullname" $root) .role)
  (printf "k8s.container.name=%s" .role) }}
{{- range $name, $value := $otel.resourceAttributes }}
{{- /* Commas and equal signs separate attributes, so values are percent-encoded as OpenTelemetry asks for. */}}
{{- $attributes = append $attributes (printf "%s=%s" $name ($value | toString | urlquery | replace "+" "%20")) }}
{{- end }}
- name: OTEL_RESOURCE_ATTRIBUTES
  value: {{ $attributes | join "," | quote }}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ $otel.endpoint | quote }}
- name: OTEL_EXPORTER_OTLP_PROTOCOL
  value: {{ $otel.protocol | quote }}
- name: OTEL_TRACES_EXPORTER
  value: {{ ternary "otlp" "none" $otel.traces }}
- name: OTEL_METRICS_EXPORTER
  value: {{ ternary "otlp" "none" $otel.metrics }}
- name: OTEL_TRACES_SAMPLER
  value: {{ $otel.sampler | quote }}
- name: OTEL_TRACES_SAMPLER_ARG
  value: {{ $otel.samplerArgument | quote }}
{{- with $otel.headersSecret.name }}
- name: OTEL_EXPORTER_OTLP_HEADERS
  valueFrom:
    secretKeyRef:
      name: {{ . | quote }}
      key: {{ $otel.headersSecret.key | quote }}
{{- end }}
{{- end -}}
