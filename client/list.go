package client

import (
	"context"
	"encoding/json"
	"iter"
	"net/http"
	"net/url"
	"strings"

	"github.com/vulturepi/gateway/wire"
)

// Topics gives the newest message of every topic that matches filter, by topic.
// A [Gap] stands for one that is too large to be handed out. An error ends it.
func (c *Client) Topics(ctx context.Context, filter string) iter.Seq2[Event, error] {
	return events(c.list(ctx, "/topics", url.Values{"filter": {filter}}))
}

// Retained gives what the broker keeps for filter at this moment, by topic: the
// gateway asks it anew, and the error says when it does not answer. It is as
// Topics otherwise.
func (c *Client) Retained(ctx context.Context, filter string) iter.Seq2[Event, error] {
	return events(c.list(ctx, "/topics", url.Values{"filter": {filter}, "retained": {"true"}}))
}

// Devices gives the devices that the gateway knows of, by id, or those in one
// state: online, offline or unknown. An error ends it.
func (c *Client) Devices(ctx context.Context, state string) iter.Seq2[*wire.Device, error] {
	query := url.Values{}
	if state != "" {
		query.Set("state", state)
	}
	return func(yield func(*wire.Device, error) bool) {
		for b, err := range c.list(ctx, "/devices", query) {
			d := &wire.Device{}
			if err == nil {
				err = understood(json.Unmarshal(b, d))
			}
			if err != nil {
				yield(nil, err)
				return
			}
			if !yield(d, nil) {
				return
			}
		}
	}
}

// Device gives one device. When the gateway has not heard of it the error has
// the code device_not_seen.
func (c *Client) Device(ctx context.Context, id string) (*wire.Device, error) {
	a, failure := c.do(ctx, &call{method: http.MethodGet, path: "/devices/" + escaped(id), accept: "application/json", safe: true})
	if failure != nil {
		return nil, failure
	}
	d := &wire.Device{}
	return d, understood(json.Unmarshal(a.body, d))
}

// events are the objects of a list of messages.
func events(list iter.Seq2[json.RawMessage, error]) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		for b, err := range list {
			var event Event
			if err == nil {
				event, err = listed(b)
			}
			if err != nil {
				yield(nil, err)
				return
			}
			if !yield(event, nil) {
				return
			}
		}
	}
}

func listed(b []byte) (Event, error) {
	if strings.HasPrefix(string(b), `{"type":"`+wire.TypeGap+`"`) {
		g := &Gap{}
		return g, understood(json.Unmarshal(b, g))
	}
	m, err := decodeMessage(b)
	return m, understood(err)
}

// list gives the objects of a list, page after page.
func (c *Client) list(ctx context.Context, path string, query url.Values) iter.Seq2[json.RawMessage, error] {
	return func(yield func(json.RawMessage, error) bool) {
		for query != nil {
			a, failure := c.do(ctx, &call{method: http.MethodGet, path: path, query: query, accept: "application/json", safe: true})
			if failure != nil {
				yield(nil, failure)
				return
			}
			var page []json.RawMessage
			if err := understood(json.Unmarshal(a.body, &page)); err != nil {
				yield(nil, err)
				return
			}
			for _, b := range page {
				if !yield(b, nil) {
					return
				}
			}
			following := next(a.header.Get("Link"))
			if following != nil && following.Encode() == query.Encode() {
				yield(nil, &Error{Code: CodeForeignAnswer, Detail: "The list does not go on: a page leads to itself."})
				return
			}
			query = following
		}
	}
}

// next is the query of the page that a Link leads to; nil: there is none.
func next(link string) url.Values {
	target, isNext := strings.CutSuffix(strings.TrimPrefix(link, "<?"), `>; rel="next"`)
	if !isNext {
		return nil
	}
	query, err := url.ParseQuery(target)
	if err != nil {
		return nil
	}
	return query
}

// understood makes an Error of what is no JSON of ours.
func understood(err error) error {
	if err == nil {
		return nil
	}
	return &Error{Code: CodeForeignAnswer, Detail: "The answer cannot be understood.", cause: err}
}
