{{/* A role's Deployment; arguments as in podTemplate, and "replicas", or null where an autoscaler decides. */}}
{{- define "platform-http-demo.deployment" -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "platform-http-demo.fullname" .root }}-{{ .role }}
  namespace: {{ .root.Release.Namespace | quote }}
  labels:
    {{- include "platform-http-demo.labels" . | nindent 4 }}
spec:
  {{- if not (kindIs "invalid" .replicas) }}
  replicas: {{ int .replicas }}
  {{- end }}
  revisionHistoryLimit: 3
  strategy:
    type: RollingUpdate
    rollingUpdate:
      maxUnavailable: 0
      maxSurge: 1
  selector:
    matchLabels:
      {{- include "platform-http-demo.selectorLabels" . | nindent 6 }}
  template:
    {{- include "platform-http-demo.podTemplate" . | nindent 4 }}
{{- end -}}

{{/* A role's Service: "port" as http, and "ports" beside it. */}}
{{- define "platform-http-demo.service" -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ include "platform-http-demo.fullname" .root }}-{{ .role }}
  namespace: {{ .root.Release.Namespace | quote }}
  labels:
    {{- include "platform-http-demo.labels" . | nindent 4 }}
spec:
  type: ClusterIP
  selector:
    {{- include "platform-http-demo.selectorLabels" . | nindent 4 }}
  ports:
    - name: http
      port: {{ int .port }}
      targetPort: http
      protocol: TCP
      appProtocol: http
    {{- range .ports }}
    - name: {{ .name }}
      port: {{ int .port }}
      targetPort: {{ .name }}
      protocol: TCP
      appProtocol: http
    {{- end }}
{{- end -}}

{{/* A role's policies as variables. */}}
{{- define "platform-http-demo.configMap" -}}
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ include "platform-http-demo.fullname" .root }}-{{ .role }}
  namespace: {{ .root.Release.Namespace | quote }}
  labels:
    {{- include "platform-http-demo.labels" . | nindent 4 }}
data:
  {{- include "platform-http-demo.variables" (dict "prefix" "PLATFORM_HTTP_" "tree" .settings) | nindent 2 }}
{{- end -}}
