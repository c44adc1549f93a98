{{/* The values of .over laid over those of .base, section by section; a list replaces the whole list. */}}
{{- define "platform-http-demo.overlay" -}}
{{- $result := deepCopy .base -}}
{{- range $key, $value := .over -}}
{{- $below := get $result $key -}}
{{- if and (kindIs "map" $value) (kindIs "map" $below) -}}
{{- $value = include "platform-http-demo.overlay" (dict "base" $below "over" $value) | fromJson -}}
{{- end -}}
{{- $_ := set $result $key $value -}}
{{- end -}}
{{- toJson $result -}}
{{- end -}}

{{/* What a role's pods are like: the values under "pod" with the role's own on top. */}}
{{- define "platform-http-demo.podValues" -}}
{{- include "platform-http-demo.overlay" (dict "base" .root.Values.pod "over" (get .root.Values .role).pod) -}}
{{- end -}}

{{/* Ends the rendering where a list that is keyed by name, such as env, has a name twice. */}}
{{- define "platform-http-demo.checkNames" -}}
{{- $seen := dict -}}
{{- range .items -}}
{{- if hasKey $seen .name -}}
{{- fail (printf "%s: %s is there already, because the chart sets it: choose another name" $.where .name) -}}
{{- end -}}
{{- $_ := set $seen .name true -}}
{{- end -}}
{{- end -}}

{{- define "platform-http-demo.podSecurityContext" -}}
runAsNonRoot: true
{{- if not (kindIs "invalid" .runAsUser) }}
runAsUser: {{ int64 .runAsUser }}
runAsGroup: {{ int64 .runAsUser }}
fsGroup: {{ int64 .runAsUser }}
{{- end }}
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "platform-http-demo.containerSecurityContext" -}}
allowPrivilegeEscalation: false
privileged: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- define "platform-http-demo.volumes" -}}
- name: tmp
  emptyDir:
    medium: Memory
    sizeLimit: 16Mi
{{- if and (eq .role "caller") (include "platform-http-demo.hasSecret" .root) }}
- name: secrets
  secret:
    secretName: {{ include "platform-http-demo.secretName" .root | quote }}
    defaultMode: 0440
{{- end }}
{{- if and (ne .role "upstream") (include "platform-http-demo.hasCaBundle" .root) }}
- name: ca
{{- with .root.Values.caBundle.secret }}
  secret:
    secretName: {{ . | quote }}
    defaultMode: 0440
{{- else }}
  configMap:
    name: {{ .root.Values.caBundle.configMap | default (printf "%s-ca" (include "platform-http-demo.fullname" .root)) | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "platform-http-demo.volumeMounts" -}}
- name: tmp
  mountPath: /tmp
{{- if and (eq .role "caller") (include "platform-http-demo.hasSecret" .root) }}
- name: secrets
  mountPath: /etc/platform-http/secrets
  readOnly: true
{{- end }}
{{- if and (ne .role "upstream") (include "platform-http-demo.hasCaBundle" .root) }}
- name: ca
  mountPath: /etc/platform-http/ca
  readOnly: true
{{- end }}
{{- end -}}

{{/* The kubelet waits by itself from Kubernetes 1.30 on; before that the image's own sleep does. */}}
{{- define "platform-http-demo.preStop" -}}
{{- if semverCompare ">=1.30.0-0" .root.Capabilities.KubeVersion.Version -}}
sleep:
  seconds: {{ int .seconds }}
{{- else -}}
exec:
  command: [sleep, {{ int .seconds | quote }}]
{{- end -}}
{{- end -}}

{{- define "platform-http-demo.probe" -}}
httpGet:
  path: {{ .path }}
  port: http
{{ toYaml .timing }}
{{- end -}}

{{/*
Ends the rendering where the kubelet would kill a process that is still ending. The load takes 5 seconds to finish its
calls, and every role 3 to send its last spans.
*/}}
{{- define "platform-http-demo.checkGrace" -}}
{{- $pod := .pod -}}
{{- $needed := addf $pod.preStopSeconds $pod.drainSeconds .grace 8 -}}
{{- if le (float64 $pod.terminationGracePeriodSeconds) (float64 $needed) -}}
{{- fail (printf "pod.terminationGracePeriodSeconds of %v (for %s) is too short: it must be greater than %v, which is preStopSeconds %v + drainSeconds %v + SHUTDOWN__GRACE %v + 8 for last calls and spans" $pod.terminationGracePeriodSeconds .role $needed $pod.preStopSeconds $pod.drainSeconds .grace) -}}
{{- end -}}
{{- end -}}

{{/*
The pod of a role: "role", its "port", "environment" (a list of EnvVar of its own), "settings" (its policies, or
nothing), and "ports" beside the first.
*/}}
{{- define "platform-http-demo.podTemplate" -}}
{{- $root := .root -}}
{{- $pod := include "platform-http-demo.podValues" . | fromJson -}}
{{- $full := include "platform-http-demo.fullname" $root -}}
{{- $where := printf "pod.extraEnv (for %s)" .role -}}
{{- $env := concat (include "platform-http-demo.environment" (merge (dict "pod" $pod) .) | fromYamlArray) .environment $pod.extraEnv -}}
{{- include "platform-http-demo.checkNames" (dict "where" $where "items" $env) -}}
{{- $volumes := concat (include "platform-http-demo.volumes" . | fromYamlArray) $pod.extraVolumes -}}
{{- include "platform-http-demo.checkNames" (dict "where" "pod.extraVolumes" "items" $volumes) -}}
{{- $grace := include "platform-http-demo.grace" (.settings | default dict) | float64 -}}
{{- include "platform-http-demo.checkGrace" (dict "pod" $pod "role" .role "grace" $grace) -}}
metadata:
  labels:
    {{- /* A label that stands in both places counts once, and the role's own wins. */}}
    {{- merge (deepCopy $pod.labels) (include "platform-http-demo.labels" . | fromYaml) | toYaml | nindent 4 }}
  annotations:
    kubectl.kubernetes.io/default-container: {{ .role }}
    {{- if .settings }}
    checksum/settings: {{ toJson .settings | sha256sum | quote }}
    {{- end }}
    {{- if and (eq .role "caller") $root.Values.secrets.values }}
    checksum/secrets: {{ toJson $root.Values.secrets.values | sha256sum | quote }}
    {{- end }}
    {{- if and (ne .role "upstream") $root.Values.caBundle.pem }}
    checksum/ca: {{ $root.Values.caBundle.pem | sha256sum | quote }}
    {{- end }}
    {{- with $pod.annotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "platform-http-demo.serviceAccountName" $root | quote }}
  automountServiceAccountToken: false
  # A release named platform-http would put PLATFORM_HTTP_* variables of its services into every pod.
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ int $pod.terminationGracePeriodSeconds }}
  securityContext:
    {{- include "platform-http-demo.podSecurityContext" $pod | nindent 4 }}
  {{- with $root.Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $pod.priorityClassName }}
  priorityClassName: {{ . | quote }}
  {{- end }}
  {{- if $pod.topologySpread.enabled }}
  topologySpreadConstraints:
    {{- $selector := include "platform-http-demo.selectorLabels" . }}
    {{- range $pod.topologySpread.topologyKeys }}
    - topologyKey: {{ . | quote }}
      maxSkew: {{ int $pod.topologySpread.maxSkew }}
      whenUnsatisfiable: {{ $pod.topologySpread.whenUnsatisfiable }}
      # Pods of the version that is being replaced do not count.
      matchLabelKeys: [pod-template-hash]
      labelSelector:
        matchLabels:
          {{- $selector | nindent 10 }}
    {{- end }}
  {{- end }}
  {{- with $pod.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $pod.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $pod.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: {{ .role }}
      image: {{ include "platform-http-demo.image" $root | quote }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      command: [platform-http, demo, {{ .role }}]
      securityContext:
        {{- include "platform-http-demo.containerSecurityContext" . | nindent 8 }}
      {{- if .settings }}
      envFrom:
        - configMapRef:
            name: {{ $full }}-{{ .role }}
      {{- end }}
      env:
        {{- toYaml $env | nindent 8 }}
      ports:
        - name: http
          containerPort: {{ int .port }}
          protocol: TCP
        {{- range .ports }}
        - name: {{ .name }}
          containerPort: {{ int .port }}
          protocol: TCP
        {{- end }}
      startupProbe:
        {{- include "platform-http-demo.probe" (dict "path" "/healthz" "timing" $pod.probes.startup) | nindent 8 }}
      livenessProbe:
        {{- include "platform-http-demo.probe" (dict "path" "/healthz" "timing" $pod.probes.liveness) | nindent 8 }}
      readinessProbe:
        {{- include "platform-http-demo.probe" (dict "path" "/readyz" "timing" $pod.probes.readiness) | nindent 8 }}
      {{- if gt (int $pod.preStopSeconds) 0 }}
      lifecycle:
        preStop:
          {{- include "platform-http-demo.preStop" (dict "root" $root "seconds" $pod.preStopSeconds) | nindent 10 }}
      {{- end }}
      resources:
        {{- toYaml $pod.resources | nindent 8 }}
      volumeMounts:
        {{- concat (include "platform-http-demo.volumeMounts" . | fromYamlArray) $pod.extraVolumeMounts | toYaml | nindent 8 }}
  volumes:
    {{- toYaml $volumes | nindent 4 }}
{{- end -}}
