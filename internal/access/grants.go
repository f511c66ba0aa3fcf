package access

import (
	"errors"
	"fmt"
	"strings"

	"github.com/vulturepi/gateway/internal/topic"
)

// MaxFilters is how many filters each list of rights may have: in one place of the access file, in a token, and all
// that a principal gets from several places together.
const MaxFilters = 256

// Grants are filter lists as they are written in the access file or in a token: the level {principal} still stands for
// the caller's name.
type Grants struct {
	Publish   []string // topics that may be published to
	Retain    []string // of these, the ones that may be published to with retain, and cleared
	Subscribe []string // what may be read
	Deny      []string // what may neither be published to nor read, whatever else is granted
	Operator  bool     // $SYS/# as a filter, and what is for operators only
}

// list names one of the lists.
type list string

const (
	listPublish   list = "publish"
	listRetain    list = "retain"
	listSubscribe list = "subscribe"
	listDeny      list = "deny"
)

var lists = [...]list{listPublish, listRetain, listSubscribe, listDeny}

// of returns the list of that name, to read or to set it.
func (l list) of(g *Grants) *[]string {
	switch l {
	case listPublish:
		return &g.Publish
	case listRetain:
		return &g.Retain
	case listSubscribe:
		return &g.Subscribe
	default:
		return &g.Deny
	}
}

// placeholder stands in a filter for the caller's name, as one level.
const placeholder = "{principal}"

// check reports whether filter may stand in the list. Without a name there is nothing for {principal} to stand for.
// The error is a sentence that holds nothing of the filter.
func (l list) check(filter string, named bool) error {
	for level := range strings.SplitSeq(filter, "/") {
		switch {
		case level == placeholder && !named:
			return errors.New("{principal} stands for the caller's name, and here the caller has none")
		case level == placeholder:
		case strings.Contains(level, placeholder):
			return errors.New("{principal} must be a level of its own, between slashes")
		case strings.HasPrefix(level, "{") && strings.HasSuffix(level, "}"):
			return errors.New("a level in braces must be {principal}")
		}
	}
	if strings.HasPrefix(filter, "$") && l != listDeny {
		if l == listSubscribe {
			return errors.New("topics that start with $ cannot be granted by a filter; operator: true grants $SYS/#")
		}
		return errors.New("nobody may publish to topics that start with $")
	}
	err := topic.CheckSystemFilter(expand(filter, strings.Repeat("x", MaxName)))
	var flaw *topic.Error
	if errors.As(err, &flaw) {
		return errors.New(flaw.Detail)
	}
	return err
}

// check reports the first flaw of the lists, in the words of their writer.
func (g *Grants) check(named bool) error {
	for _, l := range lists {
		filters := *l.of(g)
		if len(filters) > MaxFilters {
			return fmt.Errorf("%s has more than %d filters", l, MaxFilters)
		}
		for i, filter := range filters {
			if err := l.check(filter, named); err != nil {
				return fmt.Errorf("%s[%d]: %w", l, i, err)
			}
		}
	}
	return nil
}

// expand puts the caller's name where {principal} stands. Both have been checked, so the name becomes one level: it
// has no slash, no wildcard and no brace.
func expand(filter, name string) string {
	if !strings.Contains(filter, placeholder) {
		return filter
	}
	return strings.ReplaceAll(filter, placeholder, name)
}
