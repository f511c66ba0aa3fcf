package config

import (
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vulturepi/gateway/internal/spelling"
)

const prefix = "GATEWAY_"

// ofClients are variables that the commands of package cli read; whoever sets
// them for a shell may start a gateway there, too.
var ofClients = []string{"GATEWAY_URL", "GATEWAY_TOKEN", "GATEWAY_TOKEN_FILE"}

// variable is what the tags of one field say.
type variable struct {
	name, def, desc string
	min, max        string // numbers and durations only
	typ             reflect.Type
}

// variables lists the fields of Config that the environment sets, in order.
func variables() []variable {
	typ := reflect.TypeFor[Config]()
	var vars []variable
	for i := range typ.NumField() {
		f := typ.Field(i)
		if !f.IsExported() {
			continue
		}
		vars = append(vars, variable{
			name: f.Tag.Get("envconfig"),
			def:  f.Tag.Get("default"),
			desc: f.Tag.Get("desc"),
			min:  f.Tag.Get("min"),
			max:  f.Tag.Get("max"),
			typ:  f.Type,
		})
	}
	return vars
}

// checkEnvironment refuses unknown variables and raw values that envconfig
// would take in a surprising way: it reads numbers in any base, and cannot
// tell an empty value from a missing one.
func checkEnvironment() error {
	vars := variables()
	if err := checkUnknown(vars, os.Environ()); err != nil {
		return err
	}
	for _, v := range vars {
		raw, set := os.LookupEnv(v.name)
		if !set {
			continue
		}
		if err := v.check(raw); err != nil {
			return err
		}
	}
	return nil
}

func checkUnknown(vars []variable, environ []string) error {
	known := make([]string, len(vars))
	for i, v := range vars {
		known[i] = v.name
	}
	slices.Sort(environ)
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		// %q keeps an odd name on one line.
		const format = "unknown variable %q; %s"
		if !strings.HasPrefix(name, prefix) {
			if meant := misspelt(name, known); meant != "" {
				return valueErrorf(format, name, "did you mean "+meant+"?")
			}
			continue
		}
		if slices.Contains(known, name) || slices.Contains(ofClients, name) {
			continue
		}
		if best := spelling.Closest(name, known); best != "" {
			return valueErrorf(format, name, "did you mean "+best+"?")
		}
		if fromKubernetes(name, value) {
			return valueErrorf(format, name, "Kubernetes sets it for a Service named gateway: set enableServiceLinks: false in the pod")
		}
		return valueErrorf(format, name, "remove it; -h lists every variable")
	}
	return nil
}

// misspelt is the variable that a name without the prefix is meant to be, if it
// is that in other letters or a typo away; else it is somebody else's.
func misspelt(name string, known []string) string {
	upper := strings.ReplaceAll(strings.ToUpper(name), "-", "_")
	for _, k := range known {
		if upper == k || max(len(name), len(k))-min(len(name), len(k)) <= 1 && spelling.Typos(name, k) == 1 {
			return k
		}
	}
	return ""
}

// fromKubernetes knows the variables that a Service named gateway puts into
// every pod of its namespace.
func fromKubernetes(name, value string) bool {
	rest := strings.TrimPrefix(name, prefix)
	return rest == "PORT" && strings.Contains(value, "://") || rest == "SERVICE_HOST" ||
		strings.HasPrefix(rest, "PORT_") || strings.HasPrefix(rest, "SERVICE_PORT")
}

// check looks at a raw value that is set.
func (v variable) check(raw string) error {
	if v.typ == reflect.TypeFor[time.Duration]() {
		return v.checkDuration(raw)
	}
	switch v.typ.Kind() {
	case reflect.Slice:
		return v.checkList(raw)
	case reflect.Bool:
		if _, err := strconv.ParseBool(raw); err != nil {
			return refuse(v.name, "%q is neither true nor false; write one of them", raw)
		}
	case reflect.Int, reflect.Int64:
		return v.checkInt(raw)
	default:
		if strings.TrimSpace(raw) == "" {
			return refuse(v.name, "is set but empty; give it a value or unset it")
		}
	}
	return nil
}

// checkList accepts an empty list, but no empty item.
func (v variable) checkList(raw string) error {
	if strings.TrimSpace(raw) == "" {
		return nil
	}
	for item := range strings.SplitSeq(raw, ",") {
		if strings.TrimSpace(item) == "" {
			return refuse(v.name, "has an empty item; remove the comma too many")
		}
	}
	return nil
}

func (v variable) checkInt(raw string) error {
	digits := strings.TrimPrefix(raw, "-")
	if !isDecimal(digits) {
		return refuse(v.name, "%q is not a whole number; write %s to %s in decimal, for example %s", raw, v.min, v.max, v.def)
	}
	low, _ := strconv.ParseInt(v.min, 10, 64)
	high, _ := strconv.ParseInt(v.max, 10, 64)
	n, err := strconv.ParseInt(raw, 10, v.typ.Bits())
	if err != nil || n < low || n > high {
		return refuse(v.name, "%q is out of range; write %s to %s, for example %s", raw, v.min, v.max, v.def)
	}
	return nil
}

func (v variable) checkDuration(raw string) error {
	d, err := time.ParseDuration(raw)
	if err != nil {
		if _, err := time.ParseDuration(raw + "s"); err == nil && isDecimal(raw) {
			return refuse(v.name, "%q has no unit; write for example %ss", raw, raw)
		}
		return refuse(v.name, "%q is not a duration; write for example %s", raw, v.def)
	}
	low, _ := time.ParseDuration(v.min)
	high, _ := time.ParseDuration(v.max)
	if d < low || d > high {
		return refuse(v.name, "%q is out of range; write %s to %s, for example %s", raw, v.min, v.max, v.def)
	}
	return nil
}

// isDecimal is true for digits without a leading zero: 01883 means different
// numbers to different readers.
func isDecimal(s string) bool {
	if s == "" || len(s) > 1 && s[0] == '0' {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool { return r < '0' || r > '9' })
}
