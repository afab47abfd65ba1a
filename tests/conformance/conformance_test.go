// Package conformance runs upstream's conformance suite of the Gateway API as it
// is, against the cluster and the control plane that its caller has started.
//
// The module files decide the release: go.mod is v1.7.0, and with
// -modfile=v1.6.3.mod it is v1.6.3. Both take the flags of the suite.
package conformance

import (
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/gateway-api/conformance"
	"sigs.k8s.io/gateway-api/conformance/tests"
	"sigs.k8s.io/gateway-api/conformance/utils/suite"
)

var only = flag.String("only", "", "names of tests, comma-separated; the report names the others as skipped")

func TestConformance(t *testing.T) {
	options := conformance.DefaultOptions(t)
	for _, test := range tests.ConformanceTests {
		printTest(test)
	}
	if *only != "" {
		wanted := strings.Split(*only, ",")
		for _, test := range tests.ConformanceTests {
			if !slices.Contains(wanted, test.ShortName) {
				options.SkipTests = append(options.SkipTests, test.ShortName)
			}
		}
		if known := len(tests.ConformanceTests) - len(options.SkipTests); known != len(wanted) {
			t.Fatalf("%d of the %d tests to be run are not of this release", len(wanted)-known, len(wanted))
		}
	}
	options.Hook = printResult
	conformance.RunConformanceWithOptions(t, options)
}

// printTest tells of a test that the suite has, and the features that it needs,
// on a line of its own: "TEST GatewayStaticAddresses Gateway,GatewayStaticAddresses".
func printTest(test suite.ConformanceTest) {
	var features []string
	for _, feature := range test.Features {
		features = append(features, string(feature))
	}
	fmt.Printf("TEST %s %s\n", test.ShortName, strings.Join(features, ","))
}

// printResult tells what became of a test as soon as it is known, on a line of
// its own: "RESULT PASS GatewayModifyListeners".
func printResult(t *testing.T, test suite.ConformanceTest, _ *suite.ConformanceTestSuite) {
	result := "PASS"
	if t.Failed() {
		result = "FAIL"
	} else if t.Skipped() {
		result = "SKIP"
	}
	fmt.Printf("RESULT %s %s\n", result, test.ShortName)
}
