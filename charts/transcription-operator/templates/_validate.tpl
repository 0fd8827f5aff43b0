{{/* What the schema cannot say in a sentence: include "operator.validate" . fails with what to write instead. */}}

{{- define "operator.validate" -}}
{{- $reserved := list "app.kubernetes.io/name" "app.kubernetes.io/instance" "app.kubernetes.io/component" "app.kubernetes.io/version" "app.kubernetes.io/managed-by" "helm.sh/chart" }}
{{- range $value, $labels := dict "commonLabels" .Values.commonLabels "podLabels" .Values.podLabels }}
{{- range $name, $_ := $labels }}
{{- if has $name $reserved }}
{{- fail (printf "%s: %s is set by the chart: remove it." $value $name) }}
{{- end }}
{{- end }}
{{- end }}
{{- if contains "://" .Values.registry }}
{{- fail (printf "registry: %s has a scheme, and names of images have none: write %s." .Values.registry (regexReplaceAll "^.*://" .Values.registry "")) }}
{{- end }}
{{- range .Values.extraEnv }}
{{- if hasPrefix "TRANSCRIPTION_" .name }}
{{- fail (printf "extraEnv: %s is the chart's: it is made from another value (docs/values.md)." .name) }}
{{- end }}
{{- end }}
{{- if and (not .Values.serviceAccount.create) (not .Values.serviceAccount.name) .Values.rbac.create }}
{{- fail "serviceAccount.create is false and serviceAccount.name is empty: the operator's rights would go to the ServiceAccount `default`. Name a ServiceAccount that exists." }}
{{- end }}
{{- if and .Values.metrics.serviceMonitor.enabled (not .Values.metrics.service.enabled) }}
{{- fail "metrics.serviceMonitor.enabled needs the Service: set metrics.service.enabled to true." }}
{{- end }}
{{- if and .Values.tests.namespace .Values.watch.namespaces (not (has .Values.tests.namespace .Values.watch.namespaces)) }}
{{- fail (printf "tests.namespace: %s is not watched: name one of watch.namespaces." .Values.tests.namespace) }}
{{- end }}
{{- end }}
