// A loop by hand over franz-go. It reads one shape of JSON and no other, by hand:
// {"series_id":"...","ts":123,"value":1.5}
package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	beta       = 0.9
	partitions = 4
)

type state struct{ average, power float64 }

var (
	head   = []byte(`{"series_id":"`)
	middle = []byte(`","ts":`)
	tail   = []byte(`,"value":`)
)

// parse returns the parts of a payload as views of it.
func parse(payload []byte) (id, ts, value []byte, ok bool) {
	rest, ok := bytes.CutPrefix(payload, head)
	if !ok {
		return nil, nil, nil, false
	}
	if id, rest, ok = bytes.Cut(rest, middle); !ok {
		return nil, nil, nil, false
	}
	if ts, rest, ok = bytes.Cut(rest, tail); !ok {
		return nil, nil, nil, false
	}
	value, ok = bytes.CutSuffix(rest, []byte("}"))
	return id, ts, value, ok
}

func fail(reason any) {
	fmt.Fprintln(os.Stderr, reason)
	os.Exit(1)
}

func main() {
	bootstrap, topic, output := os.Args[1], os.Args[2], os.Args[3]
	offsets := make(map[int32]kgo.Offset, partitions)
	for partition := int32(0); partition < partitions; partition++ {
		offsets[partition] = kgo.NewOffset().AtStart()
	}
	client, err := kgo.NewClient(
		kgo.SeedBrokers(bootstrap),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: offsets}),
		kgo.FetchMaxWait(10*time.Millisecond),
		kgo.DefaultProduceTopic(output),
		kgo.ProducerLinger(5*time.Millisecond),
		kgo.ProducerBatchMaxBytes(512<<10),
		kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.MaxBufferedRecords(1_000_000),
	)
	if err != nil {
		fail(err)
	}
	states := make(map[string]*state)
	done := func(_ *kgo.Record, err error) {
		if err != nil {
			fail(err)
		}
	}
	ctx := context.Background()
	for {
		fetches := client.PollRecords(ctx, 10_000)
		if errs := fetches.Errors(); len(errs) > 0 {
			fail(errs[0].Err)
		}
		fetches.EachRecord(func(record *kgo.Record) {
			id, ts, text, ok := parse(record.Value)
			value, err := strconv.ParseFloat(string(text), 64)
			if !ok || err != nil {
				fail("not the one shape: " + string(record.Value))
			}
			s := states[string(id)]
			if s == nil {
				s = &state{power: 1}
				states[string(id)] = s
			}
			s.average = beta*s.average + (1-beta)*value
			s.power *= beta
			event := make([]byte, 0, len(record.Value)+40)
			event = append(event, head...)
			event = append(event, id...)
			event = append(event, `","time":`...)
			event = append(event, ts...)
			event = append(event, tail...)
			event = append(event, text...)
			event = append(event, `,"ewma":`...)
			event = strconv.AppendFloat(event, s.average/(1-s.power), 'g', -1, 64)
			event = append(event, '}')
			client.Produce(ctx, &kgo.Record{Key: record.Key, Value: event}, done)
		})
	}
}
