{{/* Refuses a cluster that is too old. `kubeVersion` in Chart.yaml would refuse API servers that were
built from source as well: their version, v0.0.0-master+$Format:%H$, is no semantic version. */}}
{{- define "base.checkKubernetes" -}}
{{- $version := .Capabilities.KubeVersion.Version -}}
{{- $minor := regexFind "^v?[0-9]+[.][0-9]+" $version | trimPrefix "v" -}}
{{- if and $minor (ne $minor "0.0") (not (semverCompare ">=1.29" $minor)) -}}
{{- fail (printf "Kubernetes %s is too old: this chart needs 1.29 or later" $version) -}}
{{- end -}}
{{- end -}}
