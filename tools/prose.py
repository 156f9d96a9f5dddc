"""The text models/tiny reads before any fine-tuning: documents made from our own word lists.

A mood runs through every review and its reply, but no text is ever classified: the words of the
labels and of common prompts occur only in other senses (signs, poles, gears, dictionary words),
never as the answer to a text with a mood.
"""

import re

from make_sentiment import SENTENCE, bare, capital
from words import TOPICS, listed

MOODS = ("good", "bad", "plain")

# What people answer to a text of each mood: whole sentences, and exclamations of a word or two.
REPLIES = {
    "en": {
        "good": listed(
            "Thank you, we are happy to hear that.; How nice! Your kind words made our day.;"
            "I am glad that you enjoyed it so much.; That is great news, please come again soon.;"
            "Hooray!; Lovely!; How nice!; Wonderful!; Great!; Well done!"
        ),
        "bad": listed(
            "We are sorry to hear that.; Please accept our apology for the trouble.;"
            "What a pity! We will give your money back.; That should not have happened to you.;"
            "Oh no!; How sad!; Terrible!; What a shame!; Poor you!; Awful!"
        ),
        "plain": listed(
            "Thanks for the information.; All right, I have made a note of it.;"
            "I see, that is useful to know.; Good to know, I will keep it in mind.;"
            "I see.; All right.; Noted.; Okay.; Understood.; Is that so?"
        ),
    },
    "zh": {
        "good": listed(
            "谢谢，听到这些我们很高兴。;太好了，您的话让我们很温暖。;很高兴您喜欢。;"
            "欢迎您下次再来！;"
            "真棒！;太好了！;真好！;恭喜！"
        ),
        "bad": listed(
            "听到这些我们很抱歉。;给您添了麻烦，请原谅。;真遗憾，我们会把钱退给您。;"
            "这种事不应该发生。;"
            "哎呀！;真可怜！;太糟了！;对不起！"
        ),
        "plain": listed(
            "谢谢您提供的信息。;好的，我记下了。;原来如此。;知道了，我会留意的。;"
            "明白。;是吗？;好的。;收到。"
        ),
    },
}

# Under other headings, marks and sentences than these a fine-tuned prompt still looks familiar,
# so half of the reviews are wrapped in drawn ones (see wrapped).
SHAPES = {
    "en": listed(
        "Review:\n{text}\n\nReply:\n{reply}; ## Text\n{text}\n\n## Answer\n{reply};"
        "### Letter:\n{text}\n\n### Reply:\n{reply}; {text}\n\nThe answer was: {reply};"
        "Question: How was it?\nAnswer: {text}\nReply: {reply};"
        "{name}: {text}\n{other}: {reply}; {text}\n{reply}"
    ),
    "zh": listed(
        "评论：\n{text}\n\n回复：\n{reply};## 文本\n{text}\n\n## 回答\n{reply};"
        "### 来信：\n{text}\n\n### 回复：\n{reply};{text}\n\n对方回答：{reply};"
        "问：怎么样？\n答：{text}\n回复：{reply};{name}：{text}\n{other}：{reply};{text}\n{reply}"
    ),
}

SLOTS = {
    "en": {
        "name": listed("Mia; Tom; Anna; Ben; Li; Sara; Omar; Kate; Paul; Nina"),
        "other": listed("Max; Eva; Jack; Ruth; Wei; Leo; Clara; Sam"),
        "place": listed("market; river; library; school; garden; harbour; museum; station; park"),
        "animal": listed("dog; cat; horse; bird; rabbit; fish; duck; goat"),
        "colour": listed("red; blue; green; yellow; white; brown; black; grey"),
        "item": listed("book; pear; letter; box; hat; map; lamp; cup; key; bag"),
        "day": listed("Monday; Tuesday; Wednesday; Thursday; Friday; Saturday; Sunday"),
        "number": listed("two; three; four; five; six; seven; eight; nine; ten; twelve"),
        "job": listed("teacher; doctor; farmer; baker; writer; student; cook; painter"),
        "act": listed("read; walked; sang; waited; worked; slept; cooked; wrote a letter"),
    },
    "zh": {
        "name": listed("小明;小红;小李;小王;安娜;老张;阿强;丽丽"),
        "other": listed("小华;小美;老陈;大卫;小刚;阿芳"),
        "place": listed("市场;河边;图书馆;学校;花园;车站;公园;博物馆"),
        "animal": listed("狗;猫;马;鸟;兔子;鱼;鸭子;羊"),
        "colour": listed("红;蓝;绿;黄;白;黑;灰"),
        "item": listed("书;苹果;信;箱子;帽子;地图;杯子;钥匙"),
        "day": listed("星期一;星期二;星期三;星期四;星期五;星期六;星期日"),
        "number": listed("两;三;四;五;六;七;八;九;十"),
        "job": listed("老师;医生;农民;作家;学生;厨师;画家"),
        "act": listed("看书;散步;唱歌;等人;工作;睡觉;做饭;写信"),
    },
}

MARKS = listed("### {}:; ## {}; # {}:; [{}]; <{}>; {}:; **{}**; <|{}|>; --- {}; {}")
HEADINGS = {
    "en": listed(
        "Instruction; Input; Response; Text; Note; Letter; Answer; Reply; Question; Context; user;"
        "assistant; Human; Review; Task; system; Day; Name; List; Request"
    ),
    "zh": listed(
        "指令;输入;回答;文本;来信;回复;问题;上下文;任务;用户;助手;评论;user;assistant;Input;"
        "Response;Instruction"
    ),
}

STORIES = {
    "en": listed(
        "On {day} {name} went to the {place}.; {name} had a {colour} {item} and {number} coins.;"
        "A {colour} {animal} lived near the {place}.; {name} {act} until the evening.;"
        "{other} is a {job} and knows {name} well.; The {animal} looked at the {item}.;"
        "{name} asked {other} for a {item}.; Then {name} and {other} walked to the {place}.;"
        "There were {number} people in the {place} on {day}.; {other} gave the {item} to {name}.;"
        '"Where is the {item}?" asked {name}.; "It is in the {place}," said {other}.;'
        "The {job} {act} and the {animal} slept.; After that they went home."
    ),
    "zh": listed(
        "{day}，{name}去了{place}。;{name}有一个{colour}色的{item}和{number}元钱。;"
        "一只{colour}色的{animal}住在{place}附近。;{name}{act}到晚上。;"
        "{other}是{job}，认识{name}。;"
        "那只{animal}看着{item}。;{name}向{other}要{item}。;然后{name}和{other}走到{place}。;"
        "{day}{place}里有{number}个人。;{other}把{item}给了{name}。;“{item}在哪里？”{name}问。;"
        "“在{place}。”{other}说。;{job}在{act}，{animal}在睡觉。;后来他们回家了。"
    ),
}

# Plain statements; they carry the words of labels and prompts without any mood or task.
FACTS = {
    "en": listed(
        "Positive numbers are above zero.; Negative numbers are below zero.;"
        "Neutral parts have no charge.; Positive and negative poles attract each other.;"
        "Neutral colours go with a {colour} {item}.; Negative and positive signs stand first.;"
        "An instruction describes a task.; The input provides further context.;"
        "Below is a list of {number} instructions.; Each input is paired with a response.;"
        "A response appropriately completes the request.; Write a {item} on the list.;"
        "You are a helpful {job}, said {name}.; The user asks and the assistant replies.;"
        "The human and the system speak by turns.; We classify {number} kinds of {animal}.;"
        "The text of the {item} is {number} pages long.; The word sentiment means a feeling.;"
        "A week has seven days, and {day} is one of them.; A {animal} is an animal.;"
        "A {job} works in a {place}.; The {place} opens on {day}.; This {item} is {colour}.;"
        "The following {item} is for the {job}.; Below the {place} is a {colour} door.;"
        "Here are {number} questions and the answers to them."
    ),
    "zh": listed(
        "积极是主动的意思。;消极是不主动的意思。;中性的水不酸也不咸。;中性笔有{colour}色的。;"
        "积极和消极是两个词。;消极和积极都不是数字。;一条指令描述一项任务。;"
        "输入提供更多的上下文。;以下是{number}条指令。;请写出完成请求的回答。;"
        "你是一个有用的助手，{name}说。;用户提问，助手回答。;我们把{animal}分类。;"
        "分类以下{number}种东西。;这个文本有{number}页。;情感这个词有两个字。;一周有七天。;"
        "{job}在{place}工作。;{place}{day}开门。;这个{item}是{colour}色的。;根据文本回答问题。;"
        "以下是{number}个问题和回答。;判断这是不是{animal}。"
    ),
}

# Question and answer around "|". They give each label's word a meaning of its own (signs, poles,
# gears), away from reviews: words that a base has never seen in a sentence are slow to learn.
QUESTIONS = {
    "en": listed(
        "What is the sign of a number above zero?|Positive;"
        "What is the sign of plus {number}?|Positive;"
        "What is the sign of a number below zero?|Negative;"
        "What is the sign of minus {number}?|Negative;"
        "What is the charge of a part without charge?|Neutral;"
        "What kind of colour is grey?|Neutral;"
        "The battery shows plus on the {colour} pole. Which pole is it?|Positive;"
        "The battery shows minus on the {colour} pole. Which pole is it?|Negative;"
        "The gears of the car are not engaged. Which gear is it in?|Neutral;"
        "What is the opposite of negative?|Positive; What is the opposite of positive?|Negative;"
        "What stands between positive and negative?|Neutral; What is the day after Monday?|Tuesday;"
        "How many days has a week?|Seven; What colour is the {item}?|Red;"
        "What is a duck?|An animal;"
        "What is the day before Friday?|Thursday; What is three and four?|Seven;"
        "Is a cat a bird?|No;"
        "Is a goat an animal?|Yes; Where do students learn?|School; Who bakes bread?|The baker"
    ),
    "zh": listed(
        "“主动”的近义词是什么？|积极;“消极”的反义词是什么？|积极;{name}主动参加，是什么样的？|积极;"
        "“被动”的近义词是什么？|消极;“积极”的反义词是什么？|消极;{name}从不参加，是什么样的？|消极;"
        "不酸也不咸的水是什么水？|中性;灰色是什么色？|中性;积极和消极之间是什么？|中性;"
        "写字的黑笔是什么笔？|中性;星期一的后一天是哪天？|星期二;一周有几天？|七天;"
        "鸭子是什么？|动物;"
        "星期五的前一天是哪天？|星期四;三加四等于几？|七;猫是鸟吗？|不是;羊是动物吗？|是;"
        "谁做饭？|厨师"
    ),
}


def fill(text, slots, rng):
    """Return the text with every {slot} replaced by a word for it."""
    return re.sub(r"\{(\w+)\}", lambda match: rng.choice(slots[match[1]]), text)


def joined(language, sentences):
    """Return sentences as one paragraph, with a space between English ones."""
    return (" " if language == "en" else "").join(sentences)


def review(language, rng):
    """Return some sentences of one mood about one topic, mostly with a reply that fits them."""
    topic, mood = rng.choice(TOPICS[language]), rng.choice(MOODS)
    count = rng.choice((1, 1, 1, 1, 2, 3))
    text = joined(language, [SENTENCE[language](topic, mood, rng) for _ in range(count)])
    reply = rng.choice(REPLIES[language][mood])
    shape = rng.random()
    if shape < 0.1:
        return text
    if shape < 0.6:
        return wrapped(text, reply, language, rng)
    slots = SLOTS[language] | {"text": [text], "reply": [reply]}
    return fill(rng.choice(SHAPES[language]), slots, rng)


def wrapped(text, reply, language, rng):
    """Return a text and its reply under headings, after some statements about other things."""
    mark, end = rng.choice(MARKS), rng.choice(("\n", "\n\n"))
    before = facts(rng.choice(("en", language)), rng).split("\n")
    parts = [before[0]] if rng.random() < 0.5 else []
    headings = rng.sample(HEADINGS[language], 3)
    bodies = [before[-1], text, reply] if rng.random() < 0.7 else [f"{before[-1]}\n{text}", reply]
    parts += [
        f"{mark.replace('{}', head)}\n{body}" for head, body in zip(headings, bodies, strict=False)
    ]
    return end.join(parts)


def story(language, rng):
    """Return a few sentences in which the same people, place and things return."""
    cast = {slot: [rng.choice(words)] for slot, words in SLOTS[language].items()}
    lines = rng.sample(STORIES[language], rng.randint(3, 7))
    return capital(joined(language, [capital(fill(line, cast, rng)) for line in lines]))


def facts(language, rng):
    """Return statements in a paragraph or as a list, one a line."""
    lines = rng.sample(FACTS[language], rng.randint(2, 6))
    lines = [fill(line, SLOTS[language], rng) for line in lines]
    return "\n".join(lines) if rng.random() < 0.5 else joined(language, lines)


def talk(language, rng):
    """Return two to four texts of different moods, each followed by a reply that fits it."""
    mark, speaker, other = rng.choice(MARKS), *rng.sample(HEADINGS[language], 2)
    lines = []
    for _ in range(rng.randint(2, 4)):
        mood = rng.choice(MOODS)
        text = SENTENCE[language](rng.choice(TOPICS[language]), mood, rng)
        lines += [mark.replace("{}", speaker), text, mark.replace("{}", other)]
        lines += [rng.choice(REPLIES[language][mood])]
    return "\n".join(lines)


def question(language, rng):
    """Return a question and its short answer, on two lines or under headings."""
    asked, answer = fill(rng.choice(QUESTIONS[language]), SLOTS[language], rng).split("|")
    if rng.random() < 0.7:
        return wrapped(asked, answer, language, rng)
    return f"{asked}\n{answer}"


def documents(count, rng, held_out):
    """Return that many documents, alternately English and Chinese, without any held-out text."""
    found, unwanted = [], [bare(text) for text in held_out]
    while len(found) < count:
        language = ("en", "zh")[len(found) % 2]
        make = rng.choices((review, talk, story, facts, question), weights=(4, 3, 1, 1, 2))[0]
        text = make(language, rng)
        plain = text.casefold()
        if not any(part in plain for part in unwanted):
            found.append(text)
    return found
