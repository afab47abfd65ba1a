{{- define "dashboards.labels" -}}
app.kubernetes.io/name: pilothouse-dashboards
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: istio
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | quote }}
{{- end -}}

{{/* The groups of rules with these values. An alert to leave out that does not exist is refused: it would fire. */}}
{{- define "dashboards.groups" -}}
{{- $values := .Values -}}
{{- $known := list -}}
{{- $groups := list -}}
{{- range (.Files.Get "files/rules.yaml" | fromYaml).groups -}}
{{- $rules := list -}}
{{- range .rules -}}
{{- $known = append $known .alert -}}
{{- if not (has .alert $values.rules.disabled) -}}
{{- $annotations := merge (dict "runbook_url" (replace "docs/runbooks.md" $values.rules.runbookPage .annotations.runbook_url)) .annotations -}}
{{- $own := dict
      "expr" (replace "app=\"istiod\"" $values.selector .expr)
      "labels" (merge (dict) .labels $values.rules.alertLabels)
      "annotations" $annotations -}}
{{- $rules = append $rules (merge $own .) -}}
{{- end -}}
{{- end -}}
{{- if $rules -}}
{{- $groups = append $groups (dict "name" .name "rules" $rules) -}}
{{- end -}}
{{- end -}}
{{- range $values.rules.disabled -}}
{{- if not (has . $known) -}}
{{- fail (printf "rules.disabled: there is no alert %s" .) -}}
{{- end -}}
{{- end -}}
{{- dict "groups" $groups | toYaml -}}
{{- end -}}
