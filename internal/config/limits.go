package config

import (
	"errors"
	"strings"
	"time"

	"github.com/vulturepi/gateway/internal/topic"
)

// checkLimits checks limits against each other; their ranges are in the tags.
func checkLimits(c *Config) ([]string, error) {
	const (
		payload  = "GATEWAY_MAX_PAYLOAD_BYTES"
		queue    = "GATEWAY_CLIENT_QUEUE_BYTES"
		queues   = "GATEWAY_CLIENTS_QUEUE_BYTES"
		bodies   = "GATEWAY_BODIES_BYTES"
		answers  = "GATEWAY_ANSWERS_BYTES"
		publish  = "GATEWAY_PUBLISH_TIMEOUT"
		shutdown = "GATEWAY_SHUTDOWN_TIMEOUT"
	)
	// A payload grows in JSON, by a third as base64. One message must fit.
	if least := 2 * c.MaxPayloadBytes; c.ClientQueueBytes < least {
		return nil, refuse(queue, "%d is less than twice %s; write at least %d", c.ClientQueueBytes, payload, least)
	}
	if least := int64(c.ClientQueueBytes); c.ClientsQueueBytes < least {
		return nil, refuse(queues, "%d is less than %s; write at least %d", c.ClientsQueueBytes, queue, least)
	}
	// A buffer that grows is there twice, the payload is a part of it, and a
	// quarter is for small requests.
	least := 4 * int64(c.MaxPayloadBytes)
	if c.BodiesBytes < least {
		return nil, refuse(bodies, "%d is less than 4 times %s; write at least %d", c.BodiesBytes, payload, least)
	}
	if c.AnswersBytes < least {
		return nil, refuse(answers, "%d is less than 4 times %s; write at least %d", c.AnswersBytes, payload, least)
	}
	// A stop must outlast a publish in flight.
	if c.ShutdownTimeout <= c.PublishTimeout {
		return nil, refuse(shutdown, "%s is not longer than %s (%s); make it longer", c.ShutdownTimeout, publish, c.PublishTimeout)
	}
	if c.MQTTKeepAlive%time.Second != 0 {
		return nil, refuse("GATEWAY_MQTT_KEEPALIVE", "%s is not in whole seconds; write for example 10s", c.MQTTKeepAlive)
	}
	return nil, nil
}

func checkWatch(c *Config) ([]string, error) {
	for i, filter := range c.Watch {
		filter = strings.TrimSpace(filter)
		if err := topic.CheckFilter(filter); err != nil {
			reason := err.Error()
			if detailed := new(topic.Error); errors.As(err, &detailed) {
				reason = detailed.Detail
			}
			return nil, refuse("GATEWAY_WATCH", "%q: %s", filter, reason)
		}
		c.Watch[i] = filter
	}
	return nil, nil
}

func checkMQTT(c *Config) ([]string, error) {
	switch c.MQTTVersion {
	case "auto", "4", "5":
	default:
		return nil, refuse("GATEWAY_MQTT_VERSION", "%q is unknown; write auto, 4 (which is 3.1.1) or 5", c.MQTTVersion)
	}
	switch c.MQTTSubscribeQoS {
	case "auto", "0", "1":
	default:
		return nil, refuse("GATEWAY_MQTT_SUBSCRIBE_QOS", "%q is unknown; write auto, 0 or 1", c.MQTTSubscribeQoS)
	}
	return nil, nil
}

func checkLog(c *Config) ([]string, error) {
	switch c.LogFormat {
	case "text", "json":
	default:
		return nil, refuse("GATEWAY_LOG_FORMAT", "%q is unknown; write text or json", c.LogFormat)
	}
	switch c.LogLevel {
	case "debug", "info", "warn", "error":
	default:
		return nil, refuse("GATEWAY_LOG_LEVEL", "%q is unknown; write debug, info, warn or error", c.LogLevel)
	}
	return nil, nil
}
