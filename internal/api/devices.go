package api

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vulturepi/gateway/internal/access"
	"github.com/vulturepi/gateway/internal/device"
	"github.com/vulturepi/gateway/wire"
)

// getDevices is GET /devices: the devices that the caller may know of, by id.
func (s *Server) getDevices(w http.ResponseWriter, r *http.Request) {
	query, bad := queryOnce(r, "state", "after", "limit")
	if bad != nil {
		writeProblem(w, bad)
		return
	}
	var wrong []*wire.Problem
	state := device.State(query.Get("state"))
	if query.Has("state") && !slices.Contains(device.States, state) {
		wrong = append(wrong, fieldProblem(wire.CodeInvalidParameter, "/state", "state must be online, offline or unknown."))
	}
	limit, bad := pageLimit(query, defaultPage, maxPage)
	if bad != nil {
		wrong = append(wrong, bad)
	}
	c := callerOf(w)
	if bad = merge(wrong); bad == nil {
		bad = s.mayAskForDevices(c)
	}
	if bad != nil {
		writeProblem(w, bad)
		return
	}
	held := hold{budget: s.answers}
	defer held.release()
	var page devicePage
	bad = s.makeList(r, func() { page = s.listDevices(r.Context(), c.principal, state, query.Get("after"), limit) })
	if bad == nil {
		bad = s.countAnswer(r, &held, page.objects...)
	}
	if bad != nil {
		writeProblem(w, bad)
		return
	}
	if page.more {
		next := url.Values{"after": {page.last}, "limit": {strconv.Itoa(limit)}}
		if state != "" {
			next.Set("state", string(state))
		}
		w.Header().Set("Link", `<?`+next.Encode()+`>; rel="next"`)
	}
	if n := s.devices.Forgotten(); n > 0 {
		w.Header().Set("Devices-Forgotten", strconv.FormatUint(n, 10))
	}
	writeObjects(w, r, page.objects)
}

// devicePage is a part of the list of devices.
type devicePage struct {
	objects [][]byte
	last    string // the id that it ends with
	more    bool
}

func (s *Server) listDevices(ctx context.Context, p *access.Principal, state device.State, after string, limit int) (page devicePage) {
	for more := true; more && ctx.Err() == nil; {
		var some []device.Facts
		some, more = s.devices.Walk(after)
		for _, facts := range some {
			after = facts.ID
			d, ok := known(p, facts)
			if !ok || state != "" && d.State != state {
				continue
			}
			if len(page.objects) == limit {
				page.more = true
				return page
			}
			page.objects = append(page.objects, marshal(deviceObject(d)))
			page.last = d.ID
		}
	}
	return page
}

// getDevice is GET /devices/{id}; the id is the rest of the path.
func (s *Server) getDevice(w http.ResponseWriter, r *http.Request) {
	bad := onlyParams(r)
	id := strings.TrimPrefix(r.URL.Path, "/devices/")
	c := callerOf(w)
	if bad == nil {
		bad = s.mayAskForDevices(c)
	}
	if bad != nil {
		writeProblem(w, bad)
		return
	}
	d, ok := s.device(c.principal, id)
	if !ok {
		detail := "The gateway has not heard of this device."
		if n := s.devices.Forgotten(); n > 0 {
			detail = fmt.Sprintf("The gateway has not heard of this device, or has forgotten it: %d were, because there are more than can be known.", n)
		}
		writeProblem(w, problem(wire.CodeDeviceNotSeen, detail))
		return
	}
	writeOwn(w, http.StatusOK, deviceObject(d))
}

func deviceObject(d device.Device) *wire.Device {
	return &wire.Device{
		ID: d.ID, State: string(d.State), Since: micro(d.Since), LastSeen: micro(d.LastSeen),
		Address: d.Address, Reason: string(d.Reason), Source: string(d.Source),
	}
}

// micro is a time as clients see it: UTC, microseconds.
func micro(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.UTC().Truncate(time.Microsecond)
}

// mayAskForDevices says what keeps the caller from asking for devices: it may
// read nothing. What of them it may know, known decides.
func (s *Server) mayAskForDevices(c *caller) *wire.Problem {
	if mayWatchDevices(c.principal) {
		return nil
	}
	return s.deny(c, access.ActionSubscribe, "devices", devicesForbidden())
}

func mayWatchDevices(p *access.Principal) bool {
	return p.Via == access.ViaNone || p.Rights.Operator() || len(p.Rights.Grants().Subscribe) > 0
}

func devicesForbidden() *wire.Problem {
	return fieldProblem(wire.CodeFilterForbidden, "/devices", "Reading devices is not granted.")
}

// known is what a principal may know of a device. ok is false where that is
// nothing, or no news.
func known(p *access.Principal, facts device.Facts) (d device.Device, ok bool) {
	if knowsAll(p) {
		return facts.Show(nil)
	}
	return facts.Show(p.Rights.MaySubscribe)
}

func knowsAll(p *access.Principal) bool { return p.Via == access.ViaNone || p.Rights.Operator() }

// device is what a principal may know of the device of that id.
func (s *Server) device(p *access.Principal, id string) (d device.Device, ok bool) {
	facts, ok := s.devices.Get(id)
	if !ok {
		return d, false
	}
	return known(p, facts)
}

// mayReach says that a device is offline, to those who may know that.
func (s *Server) mayReach(c *caller, id string) *wire.Problem {
	if id == "" {
		return nil
	}
	d, ok := s.device(c.principal, id)
	if !ok || d.State != device.Offline {
		return nil
	}
	return fieldProblem(wire.CodeDeviceOffline, "/device", "The device is offline since "+micro(d.Since).Format(time.RFC3339)+"; nothing was sent.")
}

func invalidDevice() *wire.Problem {
	return fieldProblem(wire.CodeInvalidParameter, "/device", "device must be the id of a device.")
}
