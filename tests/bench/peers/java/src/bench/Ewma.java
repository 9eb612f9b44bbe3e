package bench;

import com.alibaba.fastjson2.JSON;

/** What every JVM peer computes: the bias-corrected average with beta = 0.9, JSON in and out. */
final class Ewma {
    static final double BETA = 0.9;

    /** A reading as it comes. */
    public static final class Reading {
        public String series_id;
        public long ts;
        public double value;
    }

    /** An event as it goes. */
    public static final class Event {
        public String series_id;
        public long time;
        public double value;
        public double ewma;
    }

    /** The state of a series. */
    public static final class State {
        public double average;
        public double power = 1.0;

        double step(double value) {
            average = BETA * average + (1 - BETA) * value;
            power *= BETA;
            return average / (1 - power);
        }
    }

    static Reading read(byte[] payload) {
        return JSON.parseObject(payload, Reading.class);
    }

    static byte[] write(String seriesId, long time, double value, double ewma) {
        Event event = new Event();
        event.series_id = seriesId;
        event.time = time;
        event.value = value;
        event.ewma = ewma;
        return JSON.toJSONBytes(event);
    }

    private Ewma() {}
}
