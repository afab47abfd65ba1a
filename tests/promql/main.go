// Command promql evaluates expressions over scrapes, with Prometheus' own parsers
// and engine, and checks files of rules. One JSON object comes on standard input:
//
//	{"scrapes": [{"seconds": 0, "labels": {"instance": "..."}, "text": "..."}],
//	 "expressions": ["..."], "rules": "groups: ..."}
//
// Scrapes are in the order of their seconds, which count from the first one; the
// labels are those of the target, which each of its samples gets. The answer is one
// JSON object on standard output:
//
//	{"answers": [{"problem": "", "samples": 1, "operands": [{"expression": "...", "samples": 1}]}],
//	 "problems": ["..."]}
//
// An expression is evaluated at the last scrape. Samples are what it returns, apart
// from those that are no number. Operands are what is left of it without comparisons
// that filter, without the set operators that combine these, and without absent(): what an
// alert looks at, whether it fires or not. Problems are those of the rules, as Prometheus tells them
// when it loads a file.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"slices"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/model/textparse"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/util/annotations"
)

type question struct {
	Scrapes     []scrape `json:"scrapes"`
	Expressions []string `json:"expressions"`
	Rules       string   `json:"rules"`
}

type scrape struct {
	Seconds int64             `json:"seconds"`
	Labels  map[string]string `json:"labels"`
	Text    string            `json:"text"`
}

type answers struct {
	Answers  []answer `json:"answers"`
	Problems []string `json:"problems"`
}

type answer struct {
	Problem  string    `json:"problem"`
	Samples  int       `json:"samples"`
	Operands []operand `json:"operands"`
}

type operand struct {
	Expression string `json:"expression"`
	Samples    int    `json:"samples"`
}

func main() {
	var asked question
	if err := json.NewDecoder(os.Stdin).Decode(&asked); err != nil {
		fail(err)
	}
	answered, err := asked.answer()
	if err != nil {
		fail(err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(answered); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// epoch is when the first scrape is taken to have been; no expression reads the clock.
var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func at(seconds int64) time.Time {
	return epoch.Add(time.Duration(seconds) * time.Second)
}

func (q question) answer() (answers, error) {
	all := answers{Answers: []answer{}, Problems: []string{}}
	read, err := readAll(q.Scrapes)
	if err != nil {
		return all, err
	}
	syntax := parser.NewParser(parser.Options{})
	engine := promql.NewEngine(promql.EngineOpts{
		MaxSamples: 10_000_000, Timeout: time.Minute, Parser: syntax,
		EnableAtModifier: true, EnableNegativeOffset: true,
	})
	count := func(expression string) (int, error) {
		last := at(q.Scrapes[len(q.Scrapes)-1].Seconds)
		query, err := engine.NewInstantQuery(context.Background(), read, nil, expression, last)
		if err != nil {
			return 0, err
		}
		defer query.Close()
		result := query.Exec(context.Background())
		if result.Err != nil {
			return 0, result.Err
		}
		return numbers(result.Value), nil
	}
	for _, expression := range q.Expressions {
		one, err := evaluate(syntax, count, expression)
		if err != nil {
			one.Problem = err.Error()
		}
		all.Answers = append(all.Answers, one)
	}
	if q.Rules != "" {
		_, problems := rulefmt.Parse([]byte(q.Rules), false, model.UTF8Validation, syntax)
		for _, problem := range problems {
			all.Problems = append(all.Problems, problem.Error())
		}
	}
	return all, nil
}

func evaluate(syntax parser.Parser, count func(string) (int, error), expression string) (answer, error) {
	one := answer{Operands: []operand{}}
	parsed, err := syntax.ParseExpr(expression)
	if err != nil {
		return one, err
	}
	if one.Samples, err = count(expression); err != nil {
		return one, err
	}
	for _, part := range operands(parsed) {
		samples, err := count(part.String())
		if err != nil {
			return one, fmt.Errorf("%s: %w", part, err)
		}
		one.Operands = append(one.Operands, operand{Expression: part.String(), Samples: samples})
	}
	return one, nil
}

// operands returns what an expression compares and combines. Numbers that it compares with are none.
func operands(expression parser.Expr) []parser.Expr {
	switch of := expression.(type) {
	case *parser.ParenExpr:
		return operands(of.Expr)
	case *parser.NumberLiteral:
		return nil
	case *parser.Call:
		if of.Func.Name == "absent" {
			return operands(of.Args[0])
		}
	case *parser.BinaryExpr:
		if of.Op.IsSetOperator() || of.Op.IsComparisonOperator() && !of.ReturnBool {
			return append(operands(of.LHS), operands(of.RHS)...)
		}
	}
	return []parser.Expr{expression}
}

// numbers counts the samples of a result that are numbers.
func numbers(of parser.Value) int {
	count := 0
	switch values := of.(type) {
	case promql.Vector:
		for _, sample := range values {
			if !math.IsNaN(sample.F) {
				count++
			}
		}
	case promql.Scalar:
		if !math.IsNaN(values.V) {
			count++
		}
	}
	return count
}

// series are those of all scrapes, in the order of their labels.
type series []*storage.SeriesEntry

type sample struct {
	milliseconds int64
	value        float64
}

func (s sample) ST() int64                     { return 0 }
func (s sample) T() int64                      { return s.milliseconds }
func (s sample) F() float64                    { return s.value }
func (s sample) H() *histogram.Histogram       { return nil }
func (s sample) FH() *histogram.FloatHistogram { return nil }
func (s sample) Type() chunkenc.ValueType      { return chunkenc.ValFloat }
func (s sample) Copy() chunks.Sample           { return s }

func readAll(scrapes []scrape) (series, error) {
	if len(scrapes) == 0 {
		return nil, errors.New("no scrape")
	}
	samples := map[string][]chunks.Sample{}
	named := map[string]labels.Labels{}
	for _, one := range scrapes {
		when := at(one.Seconds).UnixMilli()
		text := textparse.NewPromParser([]byte(one.Text), labels.NewSymbolTable(), false)
		for {
			entry, err := text.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return nil, fmt.Errorf("scrape at %d s: %w", one.Seconds, err)
			}
			if entry != textparse.EntrySeries {
				continue
			}
			var of labels.Labels
			text.Labels(&of)
			builder := labels.NewBuilder(of)
			for name, value := range one.Labels {
				if of.Has(name) {
					return nil, fmt.Errorf("%s has a label of its target", of)
				}
				builder.Set(name, value)
			}
			of = builder.Labels()
			key := string(of.Bytes(nil))
			_, _, value := text.Series()
			if had := samples[key]; len(had) > 0 && had[len(had)-1].T() == when {
				return nil, fmt.Errorf("%s is twice in a scrape", of)
			}
			named[key] = of
			samples[key] = append(samples[key], sample{when, value})
		}
	}
	var all series
	for _, key := range slices.SortedFunc(maps.Keys(named), func(a, b string) int {
		return labels.Compare(named[a], named[b])
	}) {
		all = append(all, storage.NewListSeries(named[key], samples[key]))
	}
	return all, nil
}

// Querier makes the series a storage that the engine asks.
func (s series) Querier(_, _ int64) (storage.Querier, error) {
	return querier{s}, nil
}

type querier struct{ all series }

func (q querier) Select(_ context.Context, _ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	found := &set{next: -1}
	for _, one := range q.all {
		matches := func(m *labels.Matcher) bool { return m.Matches(one.Lset.Get(m.Name)) }
		if !slices.ContainsFunc(matchers, func(m *labels.Matcher) bool { return !matches(m) }) {
			found.all = append(found.all, one)
		}
	}
	return found
}

func (querier) LabelValues(context.Context, string, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, errors.ErrUnsupported
}

func (querier) LabelNames(context.Context, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, errors.ErrUnsupported
}

func (querier) Close() error { return nil }

type set struct {
	all  series
	next int
}

func (s *set) Next() bool                        { s.next++; return s.next < len(s.all) }
func (s *set) At() storage.Series                { return s.all[s.next] }
func (s *set) Err() error                        { return nil }
func (s *set) Warnings() annotations.Annotations { return nil }
