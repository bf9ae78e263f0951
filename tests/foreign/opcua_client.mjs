// node opcua_client.mjs URL: browse, subscribe, and try to write out of range. Prints one JSON line.
import { AttributeIds, ClientSubscription, DataType, OPCUAClient, TimestampsToReturn }
  from "node-opcua-client";

const client = OPCUAClient.create({ endpointMustExist: false, connectionStrategy: { maxRetry: 3 } });
await client.connect(process.argv[2]);
const session = await client.createSession();

const variables = [];
const visit = async (node, depth) => {
  const result = await session.browse(node);
  for (const reference of result.references ?? []) {
    if (reference.nodeId.namespace === 0 || !reference.isForward) continue;
    if (reference.nodeClass === 2) variables.push(reference.nodeId.toString());
    if (depth > 0) await visit(reference.nodeId, depth - 1);
  }
};
await visit("ObjectsFolder", 6);
const unique = [...new Set(variables)];
const ends = (text) => unique.find((node) => node.endsWith(text));

const subscription = ClientSubscription.create(session, {
  requestedPublishingInterval: 50, requestedMaxKeepAliveCount: 20,
  requestedLifetimeCount: 1000, publishingEnabled: true,
});
const values = [];
await new Promise(async (resolve) => {
  const item = await subscription.monitor(
    { nodeId: ends("s=Coater.WebLength"), attributeId: AttributeIds.Value },
    { samplingInterval: 50, queueSize: 100 }, TimestampsToReturn.Both);
  item.on("changed", (data) => {
    if (values.length === 3) return; // later ones come until it is terminated
    values.push({ value: data.value.value, time: data.sourceTimestamp });
    if (values.length === 3) resolve();
  });
});

const setpoint = ends("s=Coater.LineSpeed.Setpoint");
const before = (await session.read({ nodeId: setpoint, attributeId: AttributeIds.Value })).value.value;
const refused = await session.write({
  nodeId: setpoint, attributeId: AttributeIds.Value,
  value: { value: { dataType: DataType.Double, value: 1e6 } },
});
const after = (await session.read({ nodeId: setpoint, attributeId: AttributeIds.Value })).value.value;
console.log(JSON.stringify({ variables: unique, values, refused: refused.name, before, after }));
await subscription.terminate();
await session.close();
await client.disconnect();
process.exit(0);
