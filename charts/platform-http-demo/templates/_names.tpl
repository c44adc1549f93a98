{{- define "platform-http-demo.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/*
The base of every object's name. At most 38 characters, because the longest suffix has 25 and names end at 63; what
is cut off is replaced by its hash, so that two long release names stay two names.
*/}}
{{- define "platform-http-demo.fullname" -}}
{{- $full := .Values.fullnameOverride -}}
{{- if not $full -}}
{{- $name := include "platform-http-demo.name" . -}}
{{- $full = ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- end -}}
{{- $full = $full | replace "." "-" -}}
{{- if not (regexMatch "^[a-z]" $full) -}}
{{- fail (printf "services cannot be named %s-caller, because a service's name starts with a letter: choose another release name, or set fullnameOverride" $full) -}}
{{- end -}}
{{- if gt (len $full) 38 -}}
{{- $full = printf "%s-%s" ($full | trunc 29 | trimSuffix "-") (sha256sum $full | trunc 8) -}}
{{- end -}}
{{- $full -}}
{{- end -}}

{{- define "platform-http-demo.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "platform-http-demo.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{- define "platform-http-demo.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{/* Where an object of this release, the argument's "component", is reached. */}}
{{- define "platform-http-demo.url" -}}
{{- printf "http://%s-%s:%d" (include "platform-http-demo.fullname" .root) .role (int .port) -}}
{{- end -}}

{{- define "platform-http-demo.secretName" -}}
{{- .Values.secrets.existingSecret | default (printf "%s-secrets" (include "platform-http-demo.fullname" .)) -}}
{{- end -}}

{{- define "platform-http-demo.hasSecret" -}}
{{- if or .Values.secrets.existingSecret .Values.secrets.values -}}true{{- end -}}
{{- end -}}

{{- define "platform-http-demo.hasCaBundle" -}}
{{- if or .Values.caBundle.configMap .Values.caBundle.secret .Values.caBundle.pem -}}true{{- end -}}
{{- end -}}

{{/* The port that a URL names or implies. */}}
{{- define "platform-http-demo.portOf" -}}
{{- $authority := regexReplaceAll "^[a-z]+://([^/]*).*$" . "${1}" -}}
{{- regexFind ":[0-9]+$" $authority | trimPrefix ":" | default (ternary "443" "80" (hasPrefix "https:" .)) -}}
{{- end -}}
