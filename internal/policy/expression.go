package policy

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/ext"
)

// costLimit is how much work one expression may do on one thing; a comparison
// costs about 3. What goes beyond is refused, not passed.
const costLimit = 100_000

// program is a compiled expression.
type program struct{ cel.Program }

// What expressions see. The names of the fields are what people write.
type (
	imageView struct {
		Name         string            `cel:"name"`
		Registry     string            `cel:"registry"`
		Repository   string            `cel:"repository"`
		Tag          string            `cel:"tag"`
		Digest       string            `cel:"digest"`
		Platform     string            `cel:"platform"`
		User         string            `cel:"user"`
		Created      time.Time         `cel:"created"`
		Age          time.Duration     `cel:"age"`
		Dated        bool              `cel:"dated"`
		Labels       map[string]string `cel:"labels"`
		Distribution string            `cel:"distribution"`
		Version      string            `cel:"distributionVersion"`
		Packages     []packageView     `cel:"packages"`
	}
	packageView struct {
		Name     string   `cel:"name"`
		Version  string   `cel:"version"`
		Type     string   `cel:"type"`
		PURL     string   `cel:"purl"`
		Licences []string `cel:"licences"`
		Layer    string   `cel:"layer"`
	}
	findingView struct {
		ID             string        `cel:"id"`
		Aliases        []string      `cel:"aliases"`
		Severity       string        `cel:"severity"`
		CVSS           float64       `cel:"cvss"`
		EPSS           float64       `cel:"epss"`
		Percentile     float64       `cel:"epssPercentile"`
		KnownExploited bool          `cel:"knownExploited"`
		Fixed          bool          `cel:"fixed"`
		FixedIn        []string      `cel:"fixedIn"`
		FixState       string        `cel:"fixState"`
		Published      time.Time     `cel:"published"`
		Age            time.Duration `cel:"age"`
		Dated          bool          `cel:"dated"`
	}
)

// compile checks the expression, types and all, against what it is asked of.
func (r *Rule) compile(unknownAs Severity) error {
	if len(r.Refuse) > maxExpression {
		return fmt.Errorf("the expression has %d characters; ferry takes at most %d", len(r.Refuse), maxExpression)
	}
	env, err := environment(r.Each, unknownAs)
	if err != nil {
		return err
	}
	compiled, issues := env.Compile(r.Refuse)
	if issues != nil && issues.Err() != nil {
		return errors.New(celText(issues.Err()))
	}
	if !compiled.OutputType().IsExactType(cel.BoolType) {
		return fmt.Errorf("the expression is a %s; it has to be true or false", compiled.OutputType())
	}
	r.asksEPSS = selects(compiled, "epss", "epssPercentile")
	r.program.Program, err = env.Program(compiled, cel.CostLimit(costLimit), cel.EvalOptions(cel.OptOptimize))
	return err
}

// selects says whether an expression asks for one of the fields.
func selects(of *cel.Ast, fields ...string) bool {
	found := false
	ast.PostOrderVisit(of.NativeRep().Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		found = found || e.Kind() == ast.SelectKind && slices.Contains(fields, e.AsSelect().FieldName())
	}))
	return found
}

// celText leaves of CEL's message what it says; line and column are of the
// expression alone and would be taken for those of the file.
func celText(err error) string {
	first, _, _ := strings.Cut(err.Error(), "\n")
	text := strings.TrimPrefix(first, "ERROR: ")
	if _, rest, ok := strings.Cut(text, ": "); ok && strings.HasPrefix(text, "<input>") {
		text = rest
	}
	text, _, _ = strings.Cut(text, " (in container '')")
	return "the expression does not fit: " + text
}

func environment(each Subject, unknownAs Severity) (*cel.Env, error) {
	options := []cel.EnvOption{
		ext.NativeTypes(ext.ParseStructTags(true), reflect.TypeFor[imageView](), reflect.TypeFor[packageView](), reflect.TypeFor[findingView]()),
		cel.Variable("image", cel.ObjectType("policy.imageView")),
		atLeast(unknownAs),
		cel.ParserExpressionSizeLimit(maxExpression),
		cel.ParserRecursionLimit(50),
	}
	if each != EachImage {
		options = append(options, cel.Variable("pkg", cel.ObjectType("policy.packageView")))
	}
	if each == EachFinding {
		options = append(options, cel.Variable("finding", cel.ObjectType("policy.findingView")))
	}
	return cel.NewEnv(options...)
}

// atLeast is a method of severities: finding.severity.atLeast('high').
func atLeast(unknownAs Severity) cel.EnvOption {
	return cel.Function("atLeast", cel.MemberOverload("severity_at_least", []*cel.Type{cel.StringType, cel.StringType}, cel.BoolType,
		cel.BinaryBinding(func(have, limit ref.Val) ref.Val {
			h, _ := have.Value().(string)
			l, _ := limit.Value().(string)
			at, err := ParseSeverity(l)
			if err != nil {
				return types.NewErr("%v", err)
			}
			s := Severity(h)
			if s.Rank() == 0 {
				s = unknownAs
			}
			return types.Bool(s.AtLeast(at))
		})))
}

// refuses asks the rule of one thing. An expression that cannot be worked out
// is an error, which the caller takes for a refusal.
func (r *Rule) refuses(vars map[string]any) (bool, error) {
	out, _, err := r.program.Eval(vars)
	if err != nil {
		return true, err
	}
	refused, ok := out.Value().(bool)
	return refused || !ok, nil
}
