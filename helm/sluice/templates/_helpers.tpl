{{/* Names, labels and what several templates have in common. */}}

{{- define "sluice.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "sluice.fullname" -}}
{{- $name := include "sluice.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 55 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 55 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 55 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* What selects pods: never changes, a DaemonSet's selector can't. */}}
{{- define "sluice.selector" -}}
app.kubernetes.io/name: {{ include "sluice.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "sluice.labels" -}}
{{ include "sluice.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "sluice.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "sluice.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "sluice.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ printf "%s@%s" .repository .digest }}
{{- else -}}
{{ printf "%s:%s" .repository (default $.Chart.AppVersion .tag) }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/*
The agent's --config: the values, and what the chart itself knows. The cgroup root is where the
chart mounts it; metrics have to be reached from outside the node where a ServiceMonitor asks.
*/}}
{{- define "sluice.config" -}}
{{- $own := dict "cgroup-root" "/run/sluice/cgroup" -}}
{{- if .Values.metrics.serviceMonitor.enabled -}}
{{- $_ := set $own "metrics-bind-address" "0.0.0.0:10249" -}}
{{- end -}}
{{- $config := merge (deepCopy .Values.config) $own -}}
{{- /* `off` without quotes is YAML's word for false. */ -}}
{{- range list "socket-lb-tcp" "socket-lb-udp" "healthz-bind-address" "metrics-bind-address" -}}
{{- if eq (toString (get $config .)) "false" -}}
{{- $_ := set $config . "off" -}}
{{- end -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}

{{/* Where the health server listens; empty where it is off. */}}
{{- define "sluice.healthz" -}}
{{- $address := dig "healthz-bind-address" "0.0.0.0:10256" .Values.config | toString -}}
{{- if not (has $address (list "off" "false")) }}{{ $address }}{{ end -}}
{{- end -}}

{{/* Where metrics are. */}}
{{- define "sluice.metrics" -}}
{{- $address := dig "metrics-bind-address" "0.0.0.0:10249" .Values.config | toString -}}
{{- if has $address (list "off" "false") -}}
{{- fail "metrics.serviceMonitor.enabled is true, and config.metrics-bind-address is off: there is nothing to scrape. Leave one of the two out" -}}
{{- end -}}
{{- $address -}}
{{- end -}}

{{/* An HTTP probe: `dict "path" … "address" ADDRESS:PORT`. */}}
{{- define "sluice.probe" -}}
{{- $host := regexReplaceAll ":[0-9]+$" .address "" | trimPrefix "[" | trimSuffix "]" -}}
httpGet:
  path: {{ .path }}
  port: {{ regexFind "[0-9]+$" .address }}
  {{- if not (has $host (list "0.0.0.0" "::")) }}
  host: {{ $host | quote }}
  {{- end }}
{{- end -}}

{{/* The confinement that every container shares: `dict "seccomp" PROFILE "root" $`. */}}
{{- define "sluice.confinement" -}}
privileged: false
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
# Pins, cgroups and namespaces are root's.
runAsUser: 0
runAsGroup: 0
seccompProfile:
  {{- toYaml .seccomp | nindent 2 }}
{{- if semverCompare ">=1.30-0" .root.Capabilities.KubeVersion.Version }}
appArmorProfile:
  {{- toYaml .root.Values.security.appArmorProfile | nindent 2 }}
{{- end }}
{{- with .root.Values.security.seLinuxOptions }}
seLinuxOptions:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* AppArmor before Kubernetes 1.30: an annotation for each of `.containers`. */}}
{{- define "sluice.appArmorAnnotations" -}}
{{- if semverCompare "<1.30-0" .root.Capabilities.KubeVersion.Version -}}
{{- $profile := .root.Values.security.appArmorProfile -}}
{{- $value := dict "Unconfined" "unconfined" "RuntimeDefault" "runtime/default" "Localhost" (printf "localhost/%s" (default "" $profile.localhostProfile)) -}}
{{- range .containers }}
container.apparmor.security.beta.kubernetes.io/{{ . }}: {{ get $value $profile.type }}
{{- end }}
{{- end -}}
{{- end -}}

{{/* What the pods of both DaemonSets have in common. */}}
{{- define "sluice.pod" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
# The node's network namespace is the node, to Sluice.
hostNetwork: true
# The API server may be named; a resolver behind a Service can't be what makes Services work.
dnsPolicy: Default
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* An init container that works in the host's namespaces: it mounts there, takes that back, or runs the
     host's tools. `dict "name" … "args" … "tools" true "root" $`. */}}
{{- define "sluice.hostContainer" -}}
- name: {{ .name }}
  image: {{ include "sluice.image" .root }}
  imagePullPolicy: {{ .root.Values.image.pullPolicy }}
  args:
    {{- toYaml .args | nindent 4 }}
  securityContext:
    # RuntimeDefault lets a container with SYS_ADMIN mount and enter namespaces.
    {{- include "sluice.confinement" (dict "seccomp" (dict "type" "RuntimeDefault") "root" .root) | nindent 4 }}
    capabilities:
      drop: [ALL]
      add:
        # mount(2), and setns(2) into the host's mount and cgroup namespaces.
        - SYS_ADMIN
        # setns(2) into a mount namespace changes the root directory.
        - SYS_CHROOT
        # Opening the namespaces of process 1, which has capabilities that this one hasn't.
        - SYS_PTRACE
        {{- if .tools }}
        # Rules of nftables and iptables.
        - NET_ADMIN
        # iptables asks the kernel by a raw socket.
        - NET_RAW
        {{- end }}
  volumeMounts:
    - name: namespaces
      mountPath: /host/ns
      readOnly: true
{{- end -}}

{{- define "sluice.bpffsVolume" -}}
- name: bpffs
  hostPath:
    path: /sys/fs/bpf
    type: Directory
{{- end -}}

{{- define "sluice.namespacesVolume" -}}
# The namespaces of the host's process 1, and nothing else of /proc.
- name: namespaces
  hostPath:
    path: /proc/1/ns
    type: Directory
{{- end -}}
