package packet

import (
	"encoding/hex"
	"testing"

	raw "github.com/vulturepi/gateway/internal/embedded/rawtest"
)

func TestAnswers(t *testing.T) {
	m := &Message{Topic: "a", Payload: []byte("xy"), Properties: raw.User("k", "v"), Expires: true}
	for name, tt := range map[string]struct {
		got  []byte
		want string
	}{
		"CONNACK of 3.1":           {AppendConnack(nil, V31, Success, Connack{SessionPresent: true}), "20020000"},
		"CONNACK":                  {AppendConnack(nil, V311, Success, Connack{SessionPresent: true, AssignedID: "x"}), "20020100"},
		"CONNACK, unknown level":   {AppendConnack(nil, V311, UnsupportedVersion, Connack{Text: "x"}), "20020001"},
		"CONNACK, no identifier":   {AppendConnack(nil, V311, InvalidClientID, Connack{}), "20020002"},
		"CONNACK of 5":             {AppendConnack(nil, V5, Success, Connack{AssignedID: "x", MaximumPacket: 258}), "200c000009" + "12000178" + "2700000102"},
		"CONNACK of 5, refused":    {AppendConnack(nil, V5, BadAuthMethod, Connack{Text: "no"}), "2008008c051f00026e6f"},
		"PUBACK":                   {AppendAck(nil, V5, PUBACK, 258, Success), "40020102"},
		"PUBACK, none subscribed":  {AppendAck(nil, V5, PUBACK, 1, NoMatchingSubscribers), "4003000110"},
		"PUBACK of 3.1.1":          {AppendAck(nil, V311, PUBACK, 1, NotAuthorized), "40020001"},
		"PUBREL":                   {AppendAck(nil, V5, PUBREL, 1, IDNotFound), "6203000192"},
		"SUBACK":                   {AppendSuback(nil, V311, 1, []Reason{0, 2, QuotaExceeded}), "90050001000280"},
		"SUBACK of 5":              {AppendSuback(nil, V5, 1, []Reason{0, QuotaExceeded}), "90050001000097"},
		"UNSUBACK":                 {AppendUnsuback(nil, V311, 1, []Reason{NoSubscription}), "b0020001"},
		"UNSUBACK of 5":            {AppendUnsuback(nil, V5, 1, []Reason{0, NoSubscription}), "b00500010000" + "11"},
		"PINGRESP":                 {AppendPingresp(nil), "d000"},
		"DISCONNECT":               {AppendDisconnect(nil, SessionTakenOver, ""), "e0018e"},
		"DISCONNECT with text":     {AppendDisconnect(nil, MalformedPacket, "x"), "e00681041f000178"},
		"PUBLISH":                  {AppendPublish(nil, V311, &Delivery{Message: m, QoS: 1, Retain: true, Dup: true, ID: 258, Identifiers: []uint32{1}}), "3b07000161" + "0102"},
		"PUBLISH at QoS 0":         {AppendPublish(nil, V5, &Delivery{Message: &Message{Topic: "a"}, ID: 7}), "3004000161" + "00"},
		"PUBLISH of 5 in full":     {AppendPublish(nil, V5, &Delivery{Message: m, QoS: 2, ID: 1, Expiry: 3, Identifiers: []uint32{1, 300}}), "3419000161" + "0001" + "11" + "2600016b000176" + "0200000003" + "0b01" + "0bac02"},
		"PUBLISH of 5, no subject": {AppendPublish(nil, V5, &Delivery{Message: &Message{Topic: "a", Payload: make([]byte, 200)}}), "30cc01000161" + "00"},
	} {
		if got := hex.EncodeToString(tt.got); got != tt.want {
			t.Errorf("%s: got %s, want %s", name, got, tt.want)
		}
	}
}

func TestPublishSizeIsTheSizeOfThePacket(t *testing.T) {
	for _, payload := range []int{0, 100, 121, 122, 127, 128, 16_376, 16_383, 200_000} {
		for _, v := range []Version{V311, V5} {
			d := &Delivery{Message: &Message{Topic: "topic", Payload: make([]byte, payload), Properties: raw.User("a", "b"), Expires: true}, QoS: 1, ID: 1, Identifiers: []uint32{1, 200}}
			got, want := PublishSize(v, d), len(AppendPublish(nil, v, d))+payload
			if got != want {
				t.Errorf("payload of %d bytes, version %d: got %d, want %d", payload, v, got, want)
			}
		}
	}
}
