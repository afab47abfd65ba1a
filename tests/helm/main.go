// Command helm-chart renders a chart as `helm install` would, and lints it, with
// helm's own packages. Values come as YAML or JSON on standard
// input; the answer is one JSON object on standard output:
//
//	helm-chart --chart DIR --release NAME --namespace NAMESPACE [--kubernetes VERSION] [--kubeconfig FILE] render
//	  {"objects": [...], "definitions": [...], "notes": "..."}
//
// With a kubeconfig, what templates look up is what the API server has; without one, nothing.
//
//	helm-chart --chart DIR --namespace NAMESPACE lint
//	  {"findings": ["..."]}
//
// What helm refuses (a value against the schema, a template that fails) ends the
// command with status 1 and helm's own words on standard error.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	v2chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/lint"
	"helm.sh/helm/v4/pkg/chart/v2/lint/support"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	v2 "helm.sh/helm/v4/pkg/chart/v2/util"
	"helm.sh/helm/v4/pkg/engine"
	documents "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"
)

type rendered struct {
	Objects     []map[string]any `json:"objects"`
	Definitions []map[string]any `json:"definitions"`
	Notes       string           `json:"notes"`
}

type linted struct {
	Findings []string `json:"findings"`
}

func main() {
	chart := flag.String("chart", "", "folder of the chart")
	release := flag.String("release", "pilothouse", "name of the release")
	namespace := flag.String("namespace", "istio-system", "namespace of the release")
	kubernetes := flag.String("kubernetes", "", "version of the API server, as it tells it; without one, helm's own")
	kubeconfig := flag.String("kubeconfig", "", "of the API server in which templates look up objects; without one, there are none")
	flag.Parse()
	if *chart == "" || flag.NArg() != 1 {
		fail(errors.New("usage: helm-chart --chart DIR [--release NAME] [--namespace NAMESPACE] [--kubernetes VERSION] [--kubeconfig FILE] render|lint < VALUES"))
	}
	values := map[string]any{}
	input, err := io.ReadAll(os.Stdin)
	if err != nil {
		fail(err)
	}
	if err := yaml.Unmarshal(input, &values); err != nil {
		fail(fmt.Errorf("values: %w", err))
	}

	var answer any
	switch flag.Arg(0) {
	case "render":
		answer, err = render(*chart, *release, *namespace, *kubernetes, *kubeconfig, values)
	case "lint":
		answer = check(*chart, *namespace, values)
	default:
		err = fmt.Errorf("no command %q", flag.Arg(0))
	}
	if err != nil {
		fail(err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(answer); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func render(folder, release, namespace, kubernetes, kubeconfig string, values map[string]any) (rendered, error) {
	answer := rendered{Objects: []map[string]any{}, Definitions: []map[string]any{}}
	chart, err := loader.LoadDir(folder)
	if err != nil {
		return answer, err
	}
	capabilities := common.DefaultCapabilities.Copy()
	if kubernetes != "" {
		// As helm takes it from a server, and compares it.
		capabilities.KubeVersion = common.KubeVersion{Version: kubernetes}
	}
	if wanted := chart.Metadata.KubeVersion; wanted != "" && !v2.IsCompatibleRange(wanted, capabilities.KubeVersion.String()) {
		return answer, fmt.Errorf("chart requires kubeVersion: %s which is incompatible with Kubernetes %s", wanted, capabilities.KubeVersion.Version)
	}
	options := common.ReleaseOptions{Name: release, Namespace: namespace, Revision: 1, IsInstall: true}
	top, err := util.ToRenderValues(chart, values, options, capabilities)
	if err != nil {
		return answer, err
	}
	files, err := files(chart, top, kubeconfig)
	if err != nil {
		return answer, err
	}
	for _, definition := range chart.CRDObjects() {
		all, err := parse(definition.Filename, string(definition.File.Data))
		if err != nil {
			return answer, err
		}
		answer.Definitions = append(answer.Definitions, all...)
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		switch base := path.Base(name); {
		case base == "NOTES.txt":
			answer.Notes += files[name]
		case strings.HasPrefix(base, "_"):
		default:
			all, err := parse(name, files[name])
			if err != nil {
				return answer, err
			}
			answer.Objects = append(answer.Objects, all...)
		}
	}
	return answer, nil
}

func files(chart *v2chart.Chart, top common.Values, kubeconfig string) (map[string]string, error) {
	if kubeconfig == "" {
		return engine.Render(chart, top)
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	return engine.RenderWithClient(chart, top, config)
}

// parse reads the documents of a file. A key that is there twice is an error:
// the API server would take the last one without a word.
func parse(name, text string) ([]map[string]any, error) {
	var all []map[string]any
	reader := documents.NewYAMLReader(bufio.NewReader(strings.NewReader(text)))
	for {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		var object map[string]any
		if err := yaml.UnmarshalStrict(document, &object); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if object != nil {
			all = append(all, object)
		}
	}
}

// check returns the errors and warnings of helm's lint.
func check(folder, namespace string, values map[string]any) linted {
	answer := linted{Findings: []string{}}
	for _, message := range lint.RunAll(folder, values, namespace).Messages {
		if message.Severity >= support.WarningSev {
			answer.Findings = append(answer.Findings, message.Error())
		}
	}
	return answer
}
