package hub

import "strings"

// maxWidth is how many places a look-up of a topic may lead to, among all
// filters: some 0.2 ms. Only filters with "+" make it more and more. The second
// half is for holders whose own filters take fewLevels at most, so that no
// holder has the places of all.
const (
	maxWidth  = 2048
	fewLevels = 64
)

// charge has holder bear the levels of a filter that it is the first to hold,
// for as long as anybody does. Called under hub.mu.
func (h *Hub) charge(in *interest, holder any) {
	h.discharge(in)
	if strings.Contains(in.filter, "+") {
		in.holder, in.levels = holder, 1+strings.Count(in.filter, "/")
		h.levels[holder] += in.levels
	}
}

// discharge ends what charge began. Called under hub.mu.
func (h *Hub) discharge(in *interest) {
	if in.levels == 0 {
		return
	}
	if h.levels[in.holder] -= in.levels; h.levels[in.holder] == 0 {
		delete(h.levels, in.holder)
	}
	in.holder, in.levels = nil, 0
}

// tooWide reports whether a new filter of holder's has led to more places than
// it may. Called under hub.mu.
func (h *Hub) tooWide(before int, holder any) bool {
	width := h.interests.Width()
	return width > before && (width > maxWidth || width > maxWidth/2 && h.levels[holder] > fewLevels)
}
