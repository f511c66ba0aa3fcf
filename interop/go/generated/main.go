// Command generated uses the client that oapi-codegen made of openapi.yaml: one
// publish, read, list, batch and error.
package main

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"os"

	"github.com/vulturepi/gateway/interop/go/client"
)

const topic = "interop/oapi-codegen/led"

// want ends the program where two values differ.
func want[T comparable](what string, got, want T) {
	if got != want {
		log.Fatalf("%s: got %v, want %v", what, got, want)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}

func main() {
	ctx := context.Background()
	c := must(client.NewClientWithResponses(os.Getenv("GATEWAY")))

	published := must(c.PublishMessageWithResponse(ctx, nil, client.Publish{Topic: topic, Payload: "on"}))
	want("publish", published.StatusCode(), 200)
	want("delivery", published.JSON200.Delivery, client.PublishMessage200JSONResponseBodyDeliveryAcknowledged)
	want("qos", published.JSON200.Qos, client.PublishMessage200JSONResponseBodyQosN1)

	// The message, not its payload as it is.
	asMessage := func(_ context.Context, r *http.Request) error {
		r.Header.Set("Accept", "application/json")
		return nil
	}
	read := must(c.GetTopicWithResponse(ctx, topic, nil, asMessage))
	want("read", read.StatusCode(), 200)
	message := must(read.JSON200.AsMessage())
	want("payload", fmt.Sprint(message.Payload), "on")
	want("encoding", message.Encoding, client.EncodingText)

	list := must(c.ListTopicsWithResponse(ctx, &client.ListTopicsParams{Filter: new(client.TopicFilter("interop/oapi-codegen/#"))}))
	want("list", list.StatusCode(), 200)
	want("topics", len(*list.JSON200), 1)
	want("topic", must((*list.JSON200)[0].AsMessage()).Topic, topic)

	batch := must(c.PublishBatchWithResponse(ctx, nil, []client.Publish{
		{Topic: topic, Payload: "off", Qos: new(client.QoSN0)},
		{Topic: "interop/+", Payload: "off"},
	}))
	want("batch", batch.StatusCode(), 207)
	want("first", (*batch.JSON207)[0].Status, 202)
	want("second", *(*batch.JSON207)[1].Code, client.ProblemCodeTopicWildcard)

	refused := must(c.PublishMessageWithResponse(ctx, nil, client.Publish{Topic: "interop/#", Payload: "on"}))
	want("error", refused.StatusCode(), 422)
	problem := refused.ApplicationproblemJSON422
	want("code", problem.Code, client.PublishMessage422ApplicationProblemPlusJSONResponseBodyCodeTopicWildcard)
	want("status", problem.Status, client.PublishMessage422ApplicationProblemPlusJSONResponseBodyStatusN422)
	want("retryable", problem.Retryable, false)

	missing := must(c.GetTopicWithResponse(ctx, "interop/oapi-codegen/never", nil, asMessage))
	want("missing", missing.StatusCode(), 404)
}
