package access

import "github.com/vulturepi/gateway/internal/topic"

// Action is what somebody wants to do with a topic or a filter.
type Action string

// The actions.
const (
	ActionPublish   Action = "publish"
	ActionRetain    Action = "retain"
	ActionSubscribe Action = "subscribe"
)

// Explain says whether the caller may do that, and which rule decides: the list and the filter as in
// "deny fleet/+/secret/#", or a sentence where no filter does. It agrees with MayPublish, MayRetain and MaySubscribe.
// Of another action than these three it says that there is no such action.
func (r *Rights) Explain(action Action, topicOrFilter string) (allowed bool, rule string) {
	var v verdict
	switch action {
	case ActionPublish:
		v = r.decidePublish(topicOrFilter)
	case ActionRetain:
		v = r.decideRetain(topicOrFilter)
	case ActionSubscribe:
		v = r.decideSubscribe(topicOrFilter)
	default:
		v = verdict{rule: "there is no such action"}
	}
	if v.list != "" {
		return v.allowed, string(v.list) + " " + v.rule
	}
	return v.allowed, v.rule
}

// verdict is a decision and what it rests on: a filter of a list, or a sentence.
type verdict struct {
	allowed bool
	list    list
	rule    string
}

func (r *Rights) decidePublish(name string) verdict {
	if system(name) {
		return verdict{rule: "nobody may publish to topics that start with $"}
	}
	return r.decide(listPublish, r.publish, name, matching)
}

func (r *Rights) decideRetain(name string) verdict {
	if v := r.decidePublish(name); !v.allowed {
		return v
	}
	return r.decide(listRetain, r.retain, name, matching)
}

func (r *Rights) decideSubscribe(filter string) verdict {
	if !system(filter) {
		return r.decide(listSubscribe, r.subscribe, filter, covering)
	}
	if !topic.Covers(systemFilter, filter) {
		return verdict{rule: "nobody may read topics that start with $, but for $SYS"}
	}
	if !r.operator {
		return verdict{rule: "$SYS is for operators"}
	}
	v := r.decide(listSubscribe, []string{systemFilter}, filter, covering)
	if v.allowed {
		return verdict{allowed: true, rule: "operator"}
	}
	return v
}

// decide looks for a rule that is about what: find finds a filter that matches a name, or that covers a filter.
func (r *Rights) decide(l list, granted []string, what string, find func([]string, string) int) verdict {
	if what == "" {
		return verdict{rule: "it is empty"}
	}
	if i := find(r.deny, what); i >= 0 {
		return verdict{list: listDeny, rule: r.deny[i]}
	}
	if r.narrowed && find(r.within, what) < 0 {
		return verdict{rule: "the ticket is for other topics"}
	}
	if i := find(granted, what); i >= 0 {
		return verdict{allowed: true, list: l, rule: granted[i]}
	}
	return verdict{rule: "no " + string(l) + " filter grants it"}
}
