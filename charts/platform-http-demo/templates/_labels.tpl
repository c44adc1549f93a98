{{/*
What selects the pods of a role. It can never change: the selector of a Deployment is immutable.
*/}}
{{- define "platform-http-demo.selectorLabels" -}}
app.kubernetes.io/name: {{ include "platform-http-demo.name" .root | quote }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .role }}
{{- end -}}

{{/* Labels of an object; "role" is its component. */}}
{{- define "platform-http-demo.labels" -}}
{{ include "platform-http-demo.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: platform-http
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- with .root.Values.extraLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}
