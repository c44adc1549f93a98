{{/*
The variables that a tree of policies stands for, one "NAME: value" per line: sections are joined by "__", lists are
JSON, and null is left out, so that the library's own default applies.
Numbers go through JSON because a template prints 67108864 as 6.7108864e+07.
*/}}
{{- define "platform-http-demo.variables" -}}
{{- $prefix := .prefix -}}
{{- range $key, $value := .tree }}
{{- $name := printf "%s%s" $prefix ($key | replace "-" "_" | upper) }}
{{- if kindIs "map" $value }}
{{- include "platform-http-demo.variables" (dict "prefix" (printf "%s__" $name) "tree" $value) }}
{{- else if kindIs "string" $value }}
{{- if regexMatch "://[^/]*@" $value }}
{{- fail (printf "%s is a URL with a login, which a ConfigMap would show: put the variable into secrets.values or secrets.existingSecret" $name) }}
{{- end }}
{{ $name }}: {{ quote $value }}
{{- else if not (kindIs "invalid" $value) }}
{{ $name }}: {{ toJson $value | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Ends the rendering where two clients have names that the library takes for one. */}}
{{- define "platform-http-demo.checkClients" -}}
{{- $seen := dict -}}
{{- $where := .where -}}
{{- range $name, $_ := .clients | default dict -}}
{{- $normalised := $name | replace "-" "_" -}}
{{- if hasKey $seen $normalised -}}
{{- fail (printf "%s.clients: %s and %s are the same client, because - equals _: keep one spelling" $where (get $seen $normalised) $name) -}}
{{- end -}}
{{- $_ := set $seen $normalised $name -}}
{{- end -}}
{{- end -}}

{{/* A tree of policies with what the chart's proxy and CA bundle add to it. */}}
{{- define "platform-http-demo.withPlatform" -}}
{{- $tree := deepCopy .tree -}}
{{- if or .root.Values.proxy.httpProxy .root.Values.proxy.httpsProxy -}}
{{- $proxy := $tree.proxy | default dict -}}
{{- if not (hasKey $proxy "from_env") -}}
{{- $_ := set $tree "proxy" (merge (dict "from_env" true) $proxy) -}}
{{- end -}}
{{- end -}}
{{- if include "platform-http-demo.hasCaBundle" .root -}}
{{- $tls := $tree.tls | default dict -}}
{{- if not $tls.ca_file -}}
{{- $_ := set $tree "tls" (merge (dict "ca_file" (printf "/etc/platform-http/ca/%s" .root.Values.caBundle.key)) $tls) -}}
{{- end -}}
{{- end -}}
{{- toJson $tree -}}
{{- end -}}

{{/*
The caller's policies. A client that has no address gets the one of this release's upstream. "partner" is the only
one that may be missing: it takes billing for a server with TLS, which it is not.
*/}}
{{- define "platform-http-demo.callerSettings" -}}
{{- $root := . -}}
{{- $tree := deepCopy .Values.platformHttp -}}
{{- include "platform-http-demo.checkClients" (dict "where" "platformHttp" "clients" $tree.clients) -}}
{{- $clients := $tree.clients | default dict -}}
{{- $offsets := dict "billing" 1 "inventory" 2 "search" 3 -}}
{{- if hasKey $clients "partner" -}}
{{- $_ := set $offsets "partner" 1 -}}
{{- end -}}
{{- range $name, $offset := $offsets -}}
{{- $client := get $clients $name | default dict -}}
{{- if not $client.base_url -}}
{{- if $root.Values.upstream.enabled -}}
{{- $port := add $root.Values.upstream.port $offset -}}
{{- $url := include "platform-http-demo.url" (dict "root" $root "role" "upstream" "port" $port) -}}
{{- $scheme := ternary "https:" "http:" (eq $name "partner") -}}
{{- $_ := set $client "base_url" (printf "%s/" ($url | replace "http:" $scheme)) -}}
{{- else if not $tree.base_url -}}
{{- fail (printf "platformHttp.clients.%s.base_url must be set when upstream.enabled is false" $name) -}}
{{- end -}}
{{- end -}}
{{- $_ := set $clients $name $client -}}
{{- end -}}
{{- $_ := set $tree "clients" $clients -}}
{{- include "platform-http-demo.withPlatform" (dict "root" $root "tree" $tree) -}}
{{- end -}}

{{/* Whether all that an order asks is this release's own upstream, which no order harms. */}}
{{- define "platform-http-demo.ordersStayHere" -}}
{{- if and .Values.caller.enabled .Values.upstream.enabled -}}
{{- $settings := include "platform-http-demo.callerSettings" . | fromJson -}}
{{- $own := printf "http://%s-upstream:" (include "platform-http-demo.fullname" .) -}}
{{- $outside := list -}}
{{- range $name := list "billing" "inventory" "search" -}}
{{- if not (hasPrefix $own (get $settings.clients $name).base_url) -}}
{{- $outside = append $outside $name -}}
{{- end -}}
{{- end -}}
{{- if not $outside -}}true{{- end -}}
{{- end -}}
{{- end -}}

{{- define "platform-http-demo.loadSettings" -}}
{{- include "platform-http-demo.checkClients" (dict "where" "load.platformHttp" "clients" .Values.load.platformHttp.clients) -}}
{{- include "platform-http-demo.withPlatform" (dict "root" . "tree" .Values.load.platformHttp) -}}
{{- end -}}

{{/* What a process gets to finish its calls, seconds: the library's default of 10 unless a policy says otherwise. */}}
{{- define "platform-http-demo.grace" -}}
{{- $grace := dig "shutdown" "grace" nil . -}}
{{- ternary 10 $grace (kindIs "invalid" $grace) -}}
{{- end -}}
