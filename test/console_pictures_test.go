package test

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// The pictures of docs/console.md: make pictures writes them, in real time. A
// test only sees that they can be made.
func TestConsolePictures(t *testing.T) {
	t.Parallel()
	dir, steps, pause := os.Getenv("PICTURES"), 5, time.Duration(0)
	if dir == "" {
		dir = t.TempDir()
	} else {
		steps, pause = 40, 500*time.Millisecond
	}
	c := openConsole(t, nil)
	c.viewport(1180, 720, "light")
	tick := time.NewTicker(max(pause, time.Microsecond))
	defer tick.Stop()
	for step := range steps {
		if step == steps/2 {
			c.open("home/kitchen/climate")
		}
		x := float64(step) / 6
		for i, room := range []string{"kitchen", "bath", "living room", "office", "cellar"} {
			f := float64(i)
			c.publish("home/"+room+"/climate", fmt.Sprintf(`{"temperature":%.2f,"humidity":%.0f,"battery":{"percent":%d,"low":false}}`, 20+f/2+1.5*math.Sin(x+f), 45+4*math.Cos(x+f), 90-7*i), true)
		}
		c.publish("home/meter/power", fmt.Sprintf("%.1f", 420+60*math.Sin(2*x)+20*math.Cos(7*x)), false)
		if step%8 == 0 {
			c.publish("home/office/lamp", []string{"off", "on"}[step/8%2], true)
			c.publish("vehicle/1/position", fmt.Sprintf("52.5%03d,13.4050", step), false)
		}
		<-tick.C
	}
	c.until(`words('chart-words').startsWith('last')`)
	c.js(`new Promise(r => setTimeout(() => r('drawn'), 400))`)
	c.picture(dir, "console-topic.webp")
	c.viewport(1180, 720, "dark")
	c.js(`(location.hash = '#/stream/home/%%23', type('stream-pace', ''))`)
	for step := range 4 {
		c.publish("home/meter/power", fmt.Sprintf("%.1f", 400+float64(step)), false)
		c.publish("home/kitchen/climate", fmt.Sprintf(`{"temperature":21.%d0,"humidity":47,"battery":{"percent":90,"low":false}}`, step), true)
	}
	// The stream may have begun behind some of them.
	for range 600 {
		if c.js(`new Promise(r => setTimeout(() => r(String(part('stream').innerText.includes('403.0'))), 200))`) == "true" {
			break
		}
		c.publish("home/meter/power", "403.0", false)
	}
	c.until(`part('stream').innerText.includes('403.0')`)
	c.picture(dir, "console-stream.webp")
	c.viewport(390, 720, "light")
	c.js(`(location.hash = '#/', new Promise(r => setTimeout(() => r('drawn'), 400)))`)
	c.picture(dir, "console-phone.webp")
}

func (c *console) picture(dir, name string) {
	c.t.Helper()
	quality := int64(72)
	shot, err := chromedp.Call(c.ctx, page.CaptureScreenshot, page.CaptureScreenshotParams{Format: page.CaptureScreenshotFormatWebp, Quality: &quality})
	if err != nil {
		c.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name), shot.Data, 0o644); err != nil {
		c.t.Fatal(err)
	}
}
