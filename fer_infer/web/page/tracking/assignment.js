/** Assignment at the least sum of costs. */

/**
 * Assign rows to columns, one to one, at the least sum of costs (Kuhn, Naval Research Logistics 2, 1955), by shortest
 * augmenting paths (Jonker and Volgenant, Computing 38, 1987).
 * @param {number[][]} costs one finite cost per row and column
 * @returns {[row: number, column: number][]} as many pairs as the smaller side has
 */
export function assign(costs) {
  const rows = costs.length;
  const columns = rows === 0 ? 0 : costs[0].length;
  if (rows > columns) {
    const transposed = Array.from({ length: columns }, (_, column) => costs.map((row) => row[column]));
    return assign(transposed).map(([column, row]) => [row, column]);
  }
  const rowOf = new Int32Array(columns).fill(-1);
  const rowPrices = new Float64Array(rows);
  const columnPrices = new Float64Array(columns);
  for (let row = 0; row < rows; row += 1) augment(costs, row, rowOf, rowPrices, columnPrices);
  return [...rowOf.keys()].filter((column) => rowOf[column] !== -1).map((column) => [rowOf[column], column]);
}

/**
 * Assign one more row along the cheapest path of reassignments.
 * @param {number[][]} costs
 * @param {number} first row that is not assigned yet
 * @param {Int32Array} rowOf row of each column, -1 for none
 * @param {Float64Array} rowPrices
 * @param {Float64Array} columnPrices
 */
function augment(costs, first, rowOf, rowPrices, columnPrices) {
  const columns = rowOf.length;
  const distances = new Float64Array(columns).fill(Infinity);
  const before = new Int32Array(columns).fill(-1);
  const done = new Uint8Array(columns);
  let [row, column, reached] = [first, -1, 0];
  while (row !== -1) {
    let nearest = -1;
    for (let next = 0; next < columns; next += 1) {
      if (done[next]) continue;
      const distance = reached + costs[row][next] - rowPrices[row] - columnPrices[next];
      if (distance < distances[next]) [distances[next], before[next]] = [distance, column];
      if (nearest === -1 || distances[next] < distances[nearest]) nearest = next;
    }
    [column, reached] = [nearest, distances[nearest]];
    done[column] = 1;
    row = rowOf[column];
  }
  rowPrices[first] += reached;
  for (let other = 0; other < columns; other += 1) {
    if (!done[other] || other === column) continue;
    columnPrices[other] += distances[other] - reached;
    rowPrices[rowOf[other]] += reached - distances[other];
  }
  while (column !== -1) {
    const previous = before[column];
    rowOf[column] = previous === -1 ? first : rowOf[previous];
    column = previous;
  }
}
