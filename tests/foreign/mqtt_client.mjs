// node mqtt_client.mjs URL TOPIC...: the first message of each topic. Prints one JSON line.
import mqtt from "mqtt";

const [url, ...topics] = process.argv.slice(2);
const client = await mqtt.connectAsync(url, { protocolVersion: 5 });
const messages = {};
client.on("message", (topic, payload, packet) => {
  messages[topic] ??= { payload: JSON.parse(payload.toString()), retained: packet.retain };
  if (topics.every((wanted) => wanted in messages)) {
    console.log(JSON.stringify(messages));
    process.exit(0);
  }
});
await client.subscribeAsync(topics);
