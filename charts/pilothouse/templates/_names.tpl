{{/* Name of deployment, service and account: what dashboards, ztunnel and istioctl look for. */}}
{{- define "pilothouse.name" -}}
{{- if include "pilothouse.revisionSuffix" . -}}istiod-{{ .Values.revision }}{{- else -}}istiod{{- end -}}
{{- end -}}

{{/* The revision when it is one by name. */}}
{{- define "pilothouse.revisionSuffix" -}}
{{- if and .Values.revision (ne .Values.revision "default") -}}{{ .Values.revision }}{{- end -}}
{{- end -}}

{{/* The value of the label istio.io/rev. */}}
{{- define "pilothouse.revision" -}}
{{- default "default" .Values.revision -}}
{{- end -}}

{{/* Name of objects without a namespace: one release must not own another's. */}}
{{- define "pilothouse.clusterName" -}}
{{- $parts := list "pilothouse" -}}
{{- with include "pilothouse.revisionSuffix" . -}}{{- $parts = append $parts . -}}{{- end -}}
{{- join "-" (append $parts .Release.Namespace) -}}
{{- end -}}

{{/* The namespace whose mesh settings are read. */}}
{{- define "pilothouse.systemNamespace" -}}
{{- if .Values.shadow.enabled -}}
{{- default .Release.Namespace .Values.shadow.namespace -}}
{{- else -}}
{{- .Release.Namespace -}}
{{- end -}}
{{- end -}}

{{/* Name of the ConfigMap of the mesh settings. */}}
{{- define "pilothouse.meshConfigMap" -}}
{{- with include "pilothouse.revisionSuffix" . -}}istio-{{ . }}{{- else -}}istio{{- end -}}
{{- end -}}

{{/* What a service selects: changing these makes another deployment. */}}
{{- define "pilothouse.selectorLabels" -}}
app: istiod
istio.io/rev: {{ include "pilothouse.revision" . | quote }}
{{- end -}}

{{- define "pilothouse.labels" -}}
{{ include "pilothouse.selectorLabels" . }}
app.kubernetes.io/name: pilothouse
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: istio
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | quote }}
{{- end -}}

{{- define "pilothouse.image" -}}
{{- if contains "/" .Values.image -}}
{{- .Values.image -}}
{{- else -}}
{{- with .Values.hub -}}{{ . }}/{{- end -}}{{ .Values.image }}:{{ default .Chart.AppVersion .Values.tag }}
{{- end -}}
{{- end -}}

{{/* Name of the ConfigMaps that tell workloads the root certificates; empty when none are written. */}}
{{- define "pilothouse.rootConfigMap" -}}
{{- if hasKey .Values.env "PILOT_CA_CERT_CONFIGMAP" -}}
{{- get .Values.env "PILOT_CA_CERT_CONFIGMAP" -}}
{{- else -}}
istio-ca-root-cert
{{- end -}}
{{- end -}}

{{/* Name of the ConfigMaps of the revocation lists; empty when none are written. */}}
{{- define "pilothouse.crlConfigMap" -}}
{{- $reads := get .Values.env "PILOT_ENABLE_CA_CRL" | toString | lower -}}
{{- if has $reads (list "false" "no" "off" "f" "n" "0") -}}
{{- else if hasKey .Values.env "PILOT_CRL_CONFIGMAP" -}}
{{- get .Values.env "PILOT_CRL_CONFIGMAP" -}}
{{- else -}}
istio-ca-crl
{{- end -}}
{{- end -}}

{{/* Not empty when the root certificates are wished for in a ClusterTrustBundle. */}}
{{- define "pilothouse.trustBundle" -}}
{{- if eq (get .Values.env "ENABLE_CLUSTER_TRUST_BUNDLE_API" | toString) "true" -}}true{{- end -}}
{{- end -}}

{{/* Not empty when gateways are deployed: all if the variable says so, else those that are configured. */}}
{{- define "pilothouse.deploysGateways" -}}
{{- $off := list "false" "no" "off" "f" "n" "0" -}}
{{- $deploys := get .Values.env "PILOT_ENABLE_GATEWAY_API_DEPLOYMENT_CONTROLLER" | toString | lower -}}
{{- $configures := get .Values.env "PILOTHOUSE_CONFIGURE_WAYPOINTS" | toString | lower | default (toString .Values.gateways.configureWaypoints) -}}
{{- if and .Values.gateways.enabled (not (has $deploys $off)) (or $deploys (not (has $configures $off))) (not .Values.shadow.enabled) -}}true{{- end -}}
{{- end -}}

{{/* Not empty when this revision validates objects, and keeps the configurations that lead to it. */}}
{{- define "pilothouse.keepsWebhooks" -}}
{{- if and .Values.configValidation (not .Values.shadow.enabled) -}}true{{- end -}}
{{- end -}}

{{/* Name of the configuration by which objects of this revision are validated. */}}
{{- define "pilothouse.validator" -}}
{{- $parts := list "istio-validator" -}}
{{- with include "pilothouse.revisionSuffix" . -}}{{- $parts = append $parts . -}}{{- end -}}
{{- join "-" (append $parts .Release.Namespace) -}}
{{- end -}}

{{/* Refuses a cluster that is too old. `kubeVersion` in Chart.yaml would refuse API servers that were
built from source as well: their version, v0.0.0-master+$Format:%H$, is no semantic version. */}}
{{- define "pilothouse.checkKubernetes" -}}
{{- $version := .Capabilities.KubeVersion.Version -}}
{{- $minor := regexFind "^v?[0-9]+[.][0-9]+" $version | trimPrefix "v" -}}
{{- if and $minor (ne $minor "0.0") (not (semverCompare ">=1.29" $minor)) -}}
{{- fail (printf "Kubernetes %s is too old: this chart needs 1.29 or later" $version) -}}
{{- end -}}
{{- end -}}

{{/* Refuses values with which no pod could start. */}}
{{- define "pilothouse.checkImage" -}}
{{- if not (or .Values.hub (contains "/" .Values.image)) -}}
{{- fail "hub is not set, and no image of Pilothouse is published: build one (docs/install.md#image), push it, and give its registry and path by --set hub=registry.example/mesh, or the whole reference by --set image=registry.example/mesh/pilothouse:0.1.0" -}}
{{- end -}}
{{- end -}}
