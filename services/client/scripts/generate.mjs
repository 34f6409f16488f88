// Writes src/schema.ts from what the api pods say of themselves: services/api/openapi.json and asyncapi.json.
// `--check` compares instead. Only the JSON Schema that these two documents use is understood; anything else is an error.

import { readFileSync, writeFileSync } from 'node:fs';
import process from 'node:process';

const here = (path) => new URL(path, import.meta.url);
const read = (path) => JSON.parse(readFileSync(here(path), 'utf8'));
const target = here('../src/schema.ts');

/** Where the documents are: beside this package, or where the launcher says. */
const documents = process.env.PARLEY_DOCUMENTS ? `${process.env.PARLEY_DOCUMENTS}/` : '../../api/';

function generate() {
  const rest = read(`${documents}openapi.json`);
  const live = read(`${documents}asyncapi.json`);
  const schemas = { ...live.components.schemas };
  for (const [name, schema] of Object.entries(rest.components.schemas)) {
    // The envelope is opened by the client; what is in it is told by each operation.
    if (!/^(Success|Failure)(_|$)/u.test(name)) schemas[name] = schema;
  }
  return [
    '// Made from services/api/openapi.json and services/api/asyncapi.json by `npm run generate`; not to be edited.',
    ...Object.keys(schemas).sort().map((name) => declaration(name, schemas[name])),
    events('RoomEvents', "What a chat's connections hear once they have joined.", live, 'room'),
    events('UserEvents', "What all of a user's connections hear.", live, 'user'),
    asks(live),
    ...operations(rest),
  ].join('\n\n') + '\n';
}

// ---- schemas

function declaration(name, schema) {
  const head = doc(schema.description);
  const plain = schema.type === 'object' && schema.properties && !schema.additionalProperties;
  return plain ? `${head}export interface ${name} ${body(schema, '')}` : `${head}export type ${name} = ${type(schema, '')};`;
}

function body({ properties, required = [] }, indent) {
  const inner = `${indent}  `;
  const lines = Object.entries(properties).map(([name, schema]) => {
    const { description, ...rest } = schema;
    const told = description ?? schema.oneOf?.find((one) => one.description)?.description;
    const key = /^[A-Za-z_$][\w$]*$/u.test(name) ? name : JSON.stringify(name);
    return `${doc(told, inner)}${inner}${key}${required.includes(name) ? '' : '?'}: ${type(rest, inner)};`;
  });
  return lines.length === 0 ? 'Record<string, never>' : `{\n${lines.join('\n')}\n${indent}}`;
}

function type(schema, indent) {
  if (schema.$ref) return schema.$ref.split('/').at(-1);
  const either = schema.oneOf ?? schema.anyOf;
  if (either) return [...new Set(either.map((one) => type(one, indent)))].join(' | ');
  if ('const' in schema) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(' | ');
  if (Array.isArray(schema.type)) return schema.type.map((one) => type({ ...schema, type: one }, indent)).join(' | ');
  switch (schema.type) {
    case 'null': return 'null';
    case 'boolean': return 'boolean';
    case 'integer': case 'number': return 'number';
    case 'string': return schema.format === 'binary' ? 'Blob' : 'string';
    case 'array': return list(schema, indent);
    case 'object': return record(schema, indent);
    default: throw new Error(`no type for ${JSON.stringify(schema)}`);
  }
}

function list(schema, indent) {
  if (schema.prefixItems) return `[${schema.prefixItems.map((one) => type(one, indent)).join(', ')}]`;
  const item = type(schema.items, indent);
  return /[ |]/u.test(item) && !item.startsWith('{') && !item.startsWith('[') ? `(${item})[]` : `${item}[]`;
}

function record(schema, indent) {
  if (schema.properties) return body(schema, indent);
  const values = schema.additionalProperties;
  return `Record<string, ${typeof values === 'object' ? type(values, indent) : 'unknown'}>`;
}

function doc(text, indent = '') {
  if (!text) return '';
  const lines = text.replaceAll('*/', '* /').split('\n');
  if (lines.length === 1) return `${indent}/** ${lines[0]} */\n`;
  return `${indent}/**\n${lines.map((line) => `${indent} * ${line}`).join('\n')}\n${indent} */\n`;
}

// ---- events

function events(name, text, { channels, components }, channel) {
  const lines = Object.keys(channels[channel].messages).map((event) => {
    const { summary, payload } = components.messages[event];
    return `${doc(summary, '  ')}  ${JSON.stringify(event)}: ${type(payload, '  ')};`;
  });
  return `${doc(text)}export interface ${name} {\n${lines.join('\n')}\n}`;
}

function asks({ channels, components }) {
  const lines = Object.keys(channels.asks.messages).map((event) => {
    const { description, ...payload } = components.messages[event].payload;
    return `${doc(description, '  ')}  ${JSON.stringify(event)}: ${type(payload, '  ')};`;
  });
  return `${doc('What a connection may ask, with an ack.')}export interface Asks {\n${lines.join('\n')}\n}`;
}

// ---- operations

function operations({ paths, components }) {
  const named = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).filter(([, it]) => it.operationId).map(([method, it]) => ({ path, method, ...it })));
  named.sort((a, b) => a.operationId.localeCompare(b.operationId));
  const table = named.map(({ operationId, method, path }) => `  ${operationId}: [${JSON.stringify(method.toUpperCase())}, ${JSON.stringify(path)}],`);
  const types = named.map((operation) => {
    const text = operation.summary ?? operation.description?.split('\n')[0];
    return `${doc(text, '  ')}  ${operation.operationId}: ${operationType(operation, components)};`;
  });
  return [
    `${doc("Each operation's method and path.")}export const operations = {\n${table.join('\n')}\n} as const;`,
    `${doc('What each operation takes, and the `data` of its answer.')}export interface Operations {\n${types.join('\n')}\n}`,
  ];
}

function operationType({ parameters = [], requestBody, responses }, components) {
  const given = parameters.filter((it) => !it.$ref);
  const parts = [];
  for (const place of ['path', 'query', 'header']) {
    const here = given.filter((it) => it.in === place);
    if (here.length === 0) continue;
    const fields = here.map(({ name, required, schema, description }) =>
      [name, { required, schema: description ? { ...schema, description } : schema }]);
    const all = fields.every(([, { required }]) => !required) ? '?' : '';
    const shape = {
      properties: Object.fromEntries(fields.map(([name, { schema }]) => [name, schema])),
      required: fields.filter(([, { required }]) => required).map(([name]) => name),
    };
    parts.push(`    ${place}${all}: ${body(shape, '    ')};`);
  }
  const content = requestBody?.content ?? {};
  if (content['application/json']) parts.push(`    body${requestBody.required ? '' : '?'}: ${type(content['application/json'].schema, '    ')};`);
  if (content['multipart/form-data']) parts.push(`    form${content['application/json'] ? '?' : ''}: ${type(content['multipart/form-data'].schema, '    ')};`);
  parts.push(`    data: ${dataOf(responses, components)};`);
  return `{\n${parts.join('\n')}\n  }`;
}

/** What the envelope of the successful answers holds; a file has no envelope. */
function dataOf(responses, { schemas }) {
  const good = Object.entries(responses).filter(([status]) => status.startsWith('2'));
  const found = new Set(good.map(([, { content }]) => {
    const schema = content?.['application/json']?.schema;
    if (!schema) return content ? 'Blob' : 'null';
    return type(schemas[schema.$ref.split('/').at(-1)].properties.data, '    ');
  }));
  return [...found].join(' | ');
}

const text = generate();
if (process.argv.includes('--check')) {
  if (readFileSync(target, 'utf8') !== text) {
    console.error('src/schema.ts is not what services/api says: run `npm run generate` in services/client');
    process.exit(1);
  }
} else {
  writeFileSync(target, text);
}
