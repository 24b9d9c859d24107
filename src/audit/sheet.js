"use strict";
const sheet = document.querySelector("main");
const articles = Array.from(sheet.querySelectorAll("article"));
const place = "m3w-audit " + sheet.dataset.corpus + " " + sheet.dataset.seed;
let answers = {};
// Without a place to keep them, ticks last until the page is closed; saving works all the same.
try { answers = JSON.parse(localStorage.getItem(place)) || {}; } catch (error) { answers = {}; }

function fields(article) {
  return Array.from(article.querySelectorAll("input, textarea"));
}

function read(article) {
  const answer = { ticks: [], note: "" };
  for (const field of fields(article)) {
    if (field.type === "checkbox") {
      if (field.checked) answer.ticks.push(field.name);
    } else {
      answer.note = field.value;
    }
  }
  return answer;
}

function show() {
  let done = 0;
  for (const article of articles) {
    const isDone = read(article).ticks.length > 0;
    article.classList.toggle("done", isDone);
    if (isDone) done += 1;
  }
  document.getElementById("progress").textContent = done + " of " + articles.length + " looked at";
}

for (const article of articles) {
  const answer = answers[article.dataset.id] || { ticks: [], note: "" };
  for (const field of fields(article)) {
    if (field.type === "checkbox") field.checked = answer.ticks.includes(field.name);
    else field.value = answer.note;
    field.addEventListener("input", function () {
      answers[article.dataset.id] = read(article);
      try { localStorage.setItem(place, JSON.stringify(answers)); } catch (error) { /* as above */ }
      show();
    });
  }
}

document.getElementById("save").addEventListener("click", function () {
  const found = {
    manifest_sha256: sheet.dataset.corpus,
    seed: Number(sheet.dataset.seed),
    documents: articles.map(function (article) {
      return Object.assign({ id: article.dataset.id, row: Number(article.dataset.row) }, read(article));
    }),
  };
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([JSON.stringify(found, null, 1)], { type: "application/json" }));
  link.download = "audit.json";
  link.click();
});
show();
